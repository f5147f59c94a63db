"""Rows of different lengths as one sequence without padding, and attention within each row.

Padding is needed in attention alone: there, rows of like length that attend to the same prefix go
together. They are padded on the right, and attention is causal, so no token sees what is behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any, Final, NamedTuple

# Most tokens of a group with padding, per token without: a padded pass of attention is cheaper than
# many small ones, and attention is a few percent of a pass over short rows.
_MAX_PADDING: Final = 1.25


@dataclass(frozen=True, slots=True)
class KeyValues:
    """Keys and values of a beginning that several rows have in common.

    Attributes:
        tokens: how many it has.
        layers: for each layer keys and values, both of shape [heads, tokens, head size].
    """

    tokens: int
    layers: Sequence[tuple[Any, Any]]

    def bytes(self) -> int:
        """Memory of all layers."""
        return sum(tensor.nbytes for pair in self.layers for tensor in pair)


class PackedRow(NamedTuple):
    """One sequence of a pass.

    Attributes:
        ids: its token ids, at least one.
        prefix: what comes before them; None for nothing.
    """

    ids: Sequence[int]
    prefix: KeyValues | None = None

    @property
    def skipped(self) -> int:
        """Tokens before its own."""
        return 0 if self.prefix is None else self.prefix.tokens


class Packing:
    """Where the rows of one pass are in the packed sequence.

    Args:
        rows: of one pass.
        device: torch's.
        dtype: of the attention's mask.

    Attributes:
        ids: all token ids, of shape [1, tokens].
        positions: of each token in its own sequence, of the same shape.
        last: the last token of each row in the packed sequence.
        ranges: for each row its tokens in the packed sequence, [start, end).
        groups: the rows by what is computed together.
    """

    def __init__(self, rows: Sequence[PackedRow], device: Any, dtype: Any) -> None:
        torch = import_module("torch")
        self.ids = torch.tensor([[token for row in rows for token in row.ids]], device=device)
        positions = [at for row in rows for at in range(row.skipped, row.skipped + len(row.ids))]
        self.positions = torch.tensor([positions], device=device)
        self.ranges: list[tuple[int, int]] = []
        end = 0
        for row in rows:
            self.ranges.append((end, end + len(row.ids)))
            end += len(row.ids)
        self.last = torch.tensor([end - 1 for _, end in self.ranges], device=device)
        self.groups = [
            Group(
                members,
                rows[members[0]].prefix,
                [self.ranges[row] for row in members],
                device,
                dtype,
            )
            for members in _groups(rows)
        ]


class Group:
    """Rows whose attention is computed together: of like length, with the same prefix.

    Args:
        members: which rows of the pass.
        prefix: theirs.
        ranges: their tokens in the packed sequence.
        device: torch's.
        dtype: of the mask.
    """

    def __init__(
        self,
        members: Sequence[int],
        prefix: KeyValues | None,
        ranges: Sequence[tuple[int, int]],
        device: Any,
        dtype: Any,
    ) -> None:
        torch = import_module("torch")
        self.prefix, self._dtype, self._device = prefix, dtype, device
        self.members = torch.tensor(members, device=device)
        lengths = [end - start for start, end in ranges]
        self._count, self._longest = len(ranges), max(lengths)
        self._lengths = torch.tensor(lengths, device=device)
        self.is_even = min(lengths) == self._longest
        self._slice = slice(*ranges[0]) if len(ranges) == 1 else None
        columns = torch.arange(self._longest, device=device)
        starts = torch.tensor([start for start, _ in ranges], device=device)
        # Padding repeats the row's last token; nothing that is kept sees it.
        self._index = starts[:, None] + torch.minimum(columns, self._lengths[:, None] - 1)
        # Once a pass: each look for what is kept makes an accelerator wait.
        self._kept = (columns < self._lengths[:, None]).flatten().nonzero()[:, 0]
        self._own = self._index.flatten()[self._kept]

    def gather(self, packed: Any) -> Any:
        """[tokens, heads, size] of the packed sequence as [rows, heads, longest, size]."""
        if self._slice is not None:
            return packed[self._slice].transpose(0, 1)[None]
        return packed[self._index].transpose(1, 2)

    def scatter(self, attended: Any, packed: Any) -> None:
        """Write what `gather` returned the shape of back, padding left out."""
        if self._slice is not None:
            packed[self._slice] = attended[0].transpose(0, 1)
            return
        rows = attended.transpose(1, 2).flatten(0, 1)
        packed[self._own] = rows if self.is_even else rows[self._kept]

    def with_prefix(self, layer: int, keys: Any, values: Any) -> tuple[Any, Any]:
        """Gathered keys and values after the prefix's."""
        if self.prefix is None:
            return keys, values
        torch = import_module("torch")
        first = (tensor.expand(self._count, -1, -1, -1) for tensor in self.prefix.layers[layer])
        pairs = zip(first, (keys, values), strict=True)
        keys, values = (torch.cat(pair, dim=2) for pair in pairs)
        return keys, values

    @cached_property
    def causal_mask(self) -> Any:
        """What each token may see of prefix and row: 0, or the lowest number; None without prefix.

        Without a prefix the kernel for causal attention does it, which skips half of the work.
        """
        if self.prefix is None:
            return None
        torch = import_module("torch")
        shape = (self._longest, self.prefix.tokens + self._longest)
        lowest = torch.finfo(self._dtype).min
        mask = torch.full(shape, lowest, dtype=self._dtype, device=self._device)
        return mask.triu(self.prefix.tokens + 1)

    @cached_property
    def last_mask(self) -> Any:
        """What the last token of each row may see: all but padding; None where there is none."""
        if self.is_even:
            return None
        torch = import_module("torch")
        skipped = 0 if self.prefix is None else self.prefix.tokens
        columns = torch.arange(skipped + self._longest, device=self._device)
        hidden = columns >= skipped + self._lengths[:, None]
        mask = torch.zeros(hidden.shape, dtype=self._dtype, device=self._device)
        return mask.masked_fill(hidden, torch.finfo(self._dtype).min)[:, None, None]


def _groups(rows: Sequence[PackedRow]) -> list[list[int]]:
    """Positions of rows in groups of one prefix each, with little padding."""
    order = sorted(range(len(rows)), key=lambda at: (id(rows[at].prefix), -len(rows[at].ids)))
    groups: list[list[int]] = []
    tokens = longest = 0
    for at in order:
        row = rows[at]
        tokens += len(row.ids)
        is_like = (
            groups
            and rows[groups[-1][0]].prefix is row.prefix
            and longest * (len(groups[-1]) + 1) <= _MAX_PADDING * tokens
        )
        if is_like:
            groups[-1].append(at)
        else:
            groups.append([at])
            tokens = longest = len(row.ids)
    return groups
