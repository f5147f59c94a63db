"""A component's cache of scores: made at first use, shared with the component's copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._util.locks import fork_safe_lock
from ..engines.base import Engine
from ..engines.cache import with_cache
from ..engines.cache.stores import store_from
from ..errors import InvalidInputError


class CacheHandle:
    """One component's engine with a cache around it, as long as neither changes."""

    def __init__(self) -> None:
        self._lock = fork_safe_lock()
        self._made: tuple[tuple[Any, ...], Any, Engine] | None = None

    def engine(self, engine: Engine, cache: Any, cache_namespace: str | None) -> Engine:
        """The engine with the cache that the component's fields mean, the same one each time."""
        wanted = (engine, cache, cache_namespace)
        with self._lock:
            if self._made is not None and _same(self._made[0], wanted):
                return self._made[2]
            keeps_store = self._made is not None and _same(self._made[0][1:2], (cache,))
            # Another engine may go on with the same store: its fingerprint is in each key.
            store = self._made[1] if keeps_store and self._made else store_from(cache)
            cached = with_cache(engine, store, cache_namespace)
            self._made = wanted, store, cached
            return cached

    def close(self) -> None:
        """Close the files of a store that was made here; a later use opens them again."""
        with self._lock:
            made, self._made = self._made, None
        if made is not None:
            (_, cache, _), store, _ = made
            close: Callable[[], None] | None = getattr(store, "close", None)
            if store is not cache and close is not None:
                close()

    # Pydantic compares private attributes when it compares components.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, CacheHandle)

    __hash__ = None  # type: ignore[assignment]


def check_cache(value: Any) -> Any:
    """`cache` as it was passed, if it means a store; False is None.

    Raises:
        InvalidInputError: it means none.
        MissingDependencyError: a folder, and diskcache is not installed.
    """
    if value is None or value is False:
        return None
    store_from(value)
    return value


def written_cache(value: Any) -> Any:
    """`cache` as JSON writes it.

    Raises:
        InvalidInputError: a store of a foreign class.
    """
    if value is None or value is True or isinstance(value, dict):
        return value
    written = getattr(store_from(value), "written", None)
    if written is None:
        raise InvalidInputError(
            f"A cache of the foreign class {type(value).__name__} cannot be written down. Leave it "
            "out and set `cache` again after loading."
        )
    return written()


def _same(ours: tuple[Any, ...], theirs: tuple[Any, ...]) -> bool:
    return all(one is other or one == other for one, other in zip(ours, theirs, strict=True))
