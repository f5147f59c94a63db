"""The beginnings of prompts that rows have in common, and their keys and values, kept for later.

All prompts begin with the template and the instruction, and all of a query with its part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from cachetools import LRUCache

from ...core.tokens import TokenIds
from .batches import Prefix
from .packing import KeyValues, PackedRow

# A bound on memory, not a tuned number: a query part of 80 tokens has 18 MB of the 0.6B in float32,
# and 12 MB of the 8B in bfloat16.
_CACHE_BYTES: Final = 256 * 2**20


class PrefixStore:
    """Keys and values of the prefixes used last. Not for several threads at once.

    Args:
        compute: returns those of rows, in one pass.
        max_bytes: most memory that stays in use between calls.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[PackedRow]], list[KeyValues]],
        max_bytes: int = _CACHE_BYTES,
    ) -> None:
        self._compute = compute
        self._cache: LRUCache[TokenIds, KeyValues] = LRUCache(max_bytes, getsizeof=KeyValues.bytes)

    def of(self, prefixes: Iterable[Prefix]) -> dict[Prefix, KeyValues | None]:
        """Keys and values of each; None for the empty prefix."""
        wanted = list(dict.fromkeys(prefixes))
        found: dict[TokenIds, KeyValues | None] = {(): None}
        self._find(found, [Prefix(prefix.ids[: prefix.stem]) for prefix in wanted])
        self._find(found, wanted)
        return {prefix: found[prefix.ids] for prefix in wanted}

    def clear(self) -> None:
        """Free the memory."""
        self._cache.clear()

    def _find(self, found: dict[TokenIds, KeyValues | None], wanted: Iterable[Prefix]) -> None:
        """Add those that are not in `found`, where the stems of all of them are."""
        missing: list[Prefix] = []
        for prefix in dict.fromkeys(wanted):
            if prefix.ids in found:
                continue
            key_values = self._cache.get(prefix.ids)
            if key_values is None:
                missing.append(prefix)
            else:
                found[prefix.ids] = key_values
        rows = [
            PackedRow(prefix.ids[prefix.stem :], found[prefix.ids[: prefix.stem]])
            for prefix in missing
        ]
        for prefix, key_values in zip(missing, self._compute(rows) if rows else (), strict=True):
            found[prefix.ids] = key_values
            if key_values.bytes() <= self._cache.maxsize:
                self._cache[prefix.ids] = key_values
