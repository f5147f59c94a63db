"""Where cached scores are: in memory, on disk, or in a store of the user's own.

The shape is that of LangChain's `ByteStore`: `mget`, `mset`, and where there are any `amget` and
`amset`. What is shipped here has all of its methods, so that it can be used there too.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

from cachetools import LRUCache

from ..._util.locks import fork_safe_lock
from ...errors import InvalidInputError, MissingDependencyError
from ...settings import printed, whole_number

# Some 2 million scores in memory and 8 million on disk.
_MEMORY_BYTES: Final = 256 * 2**20
_DISK_BYTES: Final = 2**30
# A write of 10,000 scores takes half a second; longer, another process was stopped in one.
_LOCK_SECONDS: Final = 5
# What Python needs around a key and a value of a few bytes.
_OVERHEAD_BYTES: Final = 240
_DISKCACHE_INSTALL: Final = (
    "A cache on disk needs diskcache: pip install 'qwen3-ascend-retrievers[cache]'. "
    "In memory: cache=True."
)

Pairs = Sequence[tuple[str, bytes]]


@runtime_checkable
class ByteStore(Protocol):
    """Bytes by key, many at a time; LangChain's stores are of this shape."""

    def mget(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """The value of each key, or None."""
        ...

    def mset(self, key_value_pairs: Pairs) -> None:
        """Set the values."""
        ...


class _StoreMethods:
    """The async twins of a store whose own methods do not block for long."""

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """The value of each key, or None."""
        raise NotImplementedError

    def mset(self, key_value_pairs: Pairs) -> None:
        """Set the values."""
        raise NotImplementedError

    def mdelete(self, keys: Sequence[str]) -> None:
        """Delete the keys that are there."""
        raise NotImplementedError

    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        """The keys that begin with `prefix`."""
        raise NotImplementedError

    async def amget(self, keys: Sequence[str]) -> list[bytes | None]:
        """`mget` without blocking the event loop."""
        return await asyncio.to_thread(self.mget, keys)

    async def amset(self, key_value_pairs: Pairs) -> None:
        """`mset` without blocking the event loop."""
        await asyncio.to_thread(self.mset, key_value_pairs)

    async def amdelete(self, keys: Sequence[str]) -> None:
        """`mdelete` without blocking the event loop."""
        await asyncio.to_thread(self.mdelete, keys)

    async def ayield_keys(self, *, prefix: str | None = None) -> AsyncIterator[str]:
        """The keys that begin with `prefix`."""
        for key in await asyncio.to_thread(lambda: list(self.yield_keys(prefix=prefix))):
            yield key

    def close(self) -> None:
        """Let go of files. Safe to call twice; a later use opens them again."""


class MemoryStore(_StoreMethods):
    """Scores in this process's memory; those used least recently go first.

    Args:
        max_bytes: most memory, at least 1.
    """

    def __init__(self, max_bytes: int = _MEMORY_BYTES) -> None:
        self._max_bytes = whole_number("max_bytes", max_bytes, minimum=1)
        self._lock = fork_safe_lock()
        self._values: LRUCache[str, bytes] = LRUCache(max_bytes, getsizeof=_size)

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """The value of each key, or None."""
        with self._lock:
            return [self._values.get(key) for key in keys]

    def mset(self, key_value_pairs: Pairs) -> None:
        """Set the values; one that is larger than the whole store is left out."""
        with self._lock:
            for key, value in key_value_pairs:
                if _size(value) <= self._max_bytes:
                    self._values[key] = value

    def mdelete(self, keys: Sequence[str]) -> None:
        """Delete the keys that are there."""
        with self._lock:
            for key in keys:
                self._values.pop(key, None)

    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        """The keys that begin with `prefix`."""
        with self._lock:
            keys = list(self._values)
        yield from (key for key in keys if key.startswith(prefix or ""))

    def written(self) -> dict[str, Any]:
        """How it is written down: without its contents."""
        return {"memory": self._max_bytes}


class DiskStore(_StoreMethods):
    """Scores in a folder, which several processes of one machine may share (diskcache, SQLite).

    A process that is killed leaves a readable store. Nothing in it is ever unpickled.

    Args:
        folder: made at first use if it is not there.
        max_bytes: most bytes on disk, about; those stored first go first. At least 1.

    Raises:
        InvalidInputError: it is a file, or no folder's name.
        MissingDependencyError: diskcache is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str], max_bytes: int = _DISK_BYTES) -> None:
        self._folder = _checked_folder(folder)
        self._max_bytes = whole_number("max_bytes", max_bytes, minimum=1)
        _diskcache()

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self._folder

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """The value of each key, or None."""
        return [self._cache.get(key) for key in keys]

    def mset(self, key_value_pairs: Pairs) -> None:
        """Set the values, all or none."""
        with self._cache.transact():
            for key, value in key_value_pairs:
                self._cache.set(key, value)

    def mdelete(self, keys: Sequence[str]) -> None:
        """Delete the keys that are there."""
        with self._cache.transact():
            for key in keys:
                self._cache.delete(key)

    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        """The keys that begin with `prefix`."""
        yield from (key for key in self._cache if key.startswith(prefix or ""))

    def close(self) -> None:
        """Close the files; a later use opens them again."""
        if "_cache" in self.__dict__:
            self._cache.close()

    def written(self) -> dict[str, Any]:
        """How it is written down: by its folder."""
        return {"folder": str(self._folder), "max_bytes": self._max_bytes}

    @cached_property
    def _cache(self) -> Any:
        diskcache = _diskcache()

        disk: Any = diskcache.Disk

        class OnlyBytes(disk):  # type: ignore[misc]
            """Reads bytes and text, and takes for missing what somebody else may have pickled."""

            def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
                if mode == diskcache.core.MODE_PICKLE:
                    return None
                return super().fetch(mode, filename, value, read)

            def get(self, key: Any, raw: bool) -> Any:
                return super().get(key, raw) if raw else ""

        # Policies that count reads would make each of them a write.
        return diskcache.Cache(
            str(self._folder),
            timeout=_LOCK_SECONDS,
            disk=OnlyBytes,
            size_limit=self._max_bytes,
            eviction_policy="least-recently-stored",
        )


class _KeyValueStore(_StoreMethods):
    """LlamaIndex's `BaseKVStore`, which takes one dict for each key."""

    _COLLECTION: Final = "qwen3-rerank"

    def __init__(self, store: Any) -> None:
        self._store = store

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        return [_unwrapped(self._store.get(key, self._COLLECTION)) for key in keys]

    def mset(self, key_value_pairs: Pairs) -> None:
        for key, value in key_value_pairs:
            self._store.put(key, _wrapped(value), self._COLLECTION)

    async def amget(self, keys: Sequence[str]) -> list[bytes | None]:
        return [_unwrapped(await self._store.aget(key, self._COLLECTION)) for key in keys]

    async def amset(self, key_value_pairs: Pairs) -> None:
        for key, value in key_value_pairs:
            await self._store.aput(key, _wrapped(value), self._COLLECTION)


async def entries_of(store: Any, names: list[str]) -> Any:
    """What a store holds of these keys, without blocking the event loop."""
    if hasattr(store, "amget"):
        return await store.amget(names)
    return await asyncio.to_thread(store.mget, names)


async def store_entries(store: Any, entries: list[tuple[str, bytes]]) -> None:
    """Set them without blocking the event loop."""
    if hasattr(store, "amset"):
        await store.amset(entries)
    else:
        await asyncio.to_thread(store.mset, entries)


def store_from(value: Any) -> ByteStore:
    """The store that `cache=` means.

    Args:
        value: True for one in memory, a folder, a written form, or a store of one's own: with
            `mget` and `mset` as LangChain's, or with `get`, `put`, `aget` and `aput` as
            LlamaIndex's.

    Raises:
        InvalidInputError: it is nothing of that.
        MissingDependencyError: a folder, and diskcache is not installed.
    """
    if value is True:
        return MemoryStore()
    if isinstance(value, str | os.PathLike):
        return DiskStore(value)
    if isinstance(value, dict):
        return _from_written(value)
    if not isinstance(value, type):
        if isinstance(value, ByteStore):
            return value
        if all(callable(getattr(value, name, None)) for name in ("get", "put", "aget", "aput")):
            return _KeyValueStore(value)
    raise InvalidInputError(
        "cache must be True, a folder, or a store with mget and mset (LangChain's ByteStore) or "
        f"with get and put (LlamaIndex's BaseKVStore), not {value!r}."
    )


def _from_written(written: dict[str, Any]) -> ByteStore:
    if written.keys() == {"memory"}:
        return MemoryStore(written["memory"])
    if written.keys() == {"folder", "max_bytes"}:
        return DiskStore(**written)
    raise InvalidInputError(
        "The written form of a cache has 'memory', or 'folder' and 'max_bytes'."
    )


def _checked_folder(folder: Any) -> Path:
    try:
        if not str(folder).strip():
            raise ValueError("its name is empty")
        path = Path(folder).expanduser()
        is_file = path.exists() and not path.is_dir()
    # Not a path, too long a name, a user that is not there.
    except (TypeError, ValueError, OSError, RuntimeError) as error:
        name = printed(str(folder))
        raise InvalidInputError(f"The cache {name} cannot be a folder: {error}") from error
    if is_file:
        raise InvalidInputError(f"The cache {path} is a file. Name a folder.")
    return path


def _diskcache() -> Any:
    try:
        import diskcache
    except ImportError as error:
        raise MissingDependencyError(_DISKCACHE_INSTALL) from error
    return diskcache


def _size(value: bytes) -> int:
    # All keys are of one length.
    return len(value) + _OVERHEAD_BYTES


def _wrapped(value: bytes) -> dict[str, str]:
    return {"score": value.hex()}


def _unwrapped(value: Any) -> bytes | None:
    try:
        return bytes.fromhex(value["score"])
    except (TypeError, KeyError, ValueError):
        return None
