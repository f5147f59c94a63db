"""What is shipped is a store by LangChain's own tests; folders survive kill -9 and are shared."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_classic.storage import LocalFileStore
from langchain_core.stores import InMemoryByteStore
from langchain_tests.integration_tests.base_store import BaseStoreAsyncTests, BaseStoreSyncTests
from llama_index.core.storage.kvstore import SimpleKVStore

from qwen3_ascend_retrievers import CachedEngine, Reranker
from qwen3_ascend_retrievers.engines.cache import DiskStore, MemoryStore, stores
from qwen3_ascend_retrievers.engines.cache.stores import store_from
from qwen3_ascend_retrievers.errors import InvalidInputError
from qwen3_ascend_retrievers.testing import FakeEngine

SECONDS = 60


class _ThreeValues:
    @pytest.fixture
    def three_values(self) -> tuple[bytes, bytes, bytes]:
        return b"foo", b"bar", b"buzz"


class TestMemoryStore(_ThreeValues, BaseStoreSyncTests[bytes]):
    @pytest.fixture
    def kv_store(self) -> Any:
        return MemoryStore()


class TestMemoryStoreAsync(_ThreeValues, BaseStoreAsyncTests[bytes]):
    @pytest.fixture
    async def kv_store(self) -> Any:
        return MemoryStore()


class TestDiskStore(_ThreeValues, BaseStoreSyncTests[bytes]):
    @pytest.fixture
    def kv_store(self, tmp_path: Path) -> Iterator[Any]:
        store = DiskStore(tmp_path)
        yield store
        store.close()


class TestDiskStoreAsync(_ThreeValues, BaseStoreAsyncTests[bytes]):
    @pytest.fixture
    async def kv_store(self, tmp_path: Path) -> Any:
        return DiskStore(tmp_path)


def test_memory_is_bounded_and_the_least_used_go_first() -> None:
    store = MemoryStore(max_bytes=800)
    store.mset([(str(at), b"x" * 10) for at in range(4)])
    assert store.mget(["0"]) == [None]
    store.mget(["1"])
    store.mset([("new", b"x" * 10)])
    assert sorted(store.yield_keys()) == ["1", "3", "new"]
    store.mset([("large", b"x" * 1000)])
    assert store.mget(["large", "new"]) == [None, b"x" * 10]


def run(program: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(program), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_kill_9_in_a_write_leaves_a_readable_store(tmp_path: Path) -> None:
    writer = run(
        """
        import sys
        from qwen3_ascend_retrievers.engines.cache import DiskStore
        store = DiskStore(sys.argv[1])
        for number in range(10**9):
            store.mset([(f"{number}.{at}", b"x" * 32) for at in range(500)])
            print(number, flush=True)
        """,
        str(tmp_path),
    )
    assert writer.stdout is not None
    with writer, writer.stdout as lines:
        try:
            for _ in range(3):
                last = int(lines.readline())
            time.sleep(0.003)
        finally:
            os.kill(writer.pid, signal.SIGKILL)
        remaining = lines.read().split()
    last = max([last, *map(int, remaining)])
    store = DiskStore(tmp_path)
    for number in range(last + 1):
        assert store.mget([f"{number}.{at}" for at in range(500)]) == [b"x" * 32] * 500
    # What was being written is there as a whole, or not at all.
    assert len(set(store.mget([f"{last + 1}.{at}" for at in range(500)]))) == 1
    store.mset([("new", b"y")])
    assert store.mget(["new"]) == [b"y"]
    store.close()


def test_two_processes_share_a_folder(tmp_path: Path) -> None:
    program = """
        import sys
        from qwen3_ascend_retrievers.engines.cache import DiskStore
        store = DiskStore(sys.argv[1])
        for number in range(50):
            store.mset([(f"{sys.argv[2]}.{number}", sys.argv[2].encode())])
    """
    with run(program, str(tmp_path), "one") as first, run(program, str(tmp_path), "two") as second:
        assert [first.wait(SECONDS), second.wait(SECONDS)] == [0, 0]
    store = DiskStore(tmp_path)
    for name in ("one", "two"):
        assert store.mget([f"{name}.{at}" for at in range(50)]) == [name.encode()] * 50
    store.close()


class Exploit:
    """Runs when it is unpickled."""

    def __reduce__(self) -> Any:
        return pytest.fail, ("it was unpickled",)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    store.mset([("a", b"x")])
    store.close()
    connection = sqlite3.connect(tmp_path / "cache.db")
    planted = pickle.dumps(Exploit())
    connection.execute("UPDATE Cache SET value = ?, mode = 4", (planted,))
    connection.commit()
    connection.close()
    assert store.mget(["a"]) == [None]
    store.close()


def test_stores_of_ones_own() -> None:
    for own in (InMemoryByteStore(), SimpleKVStore()):
        store: Any = store_from(own)
        store.mset([("a", b"1"), ("b", b"2")])
        assert list(store.mget(["a", "c", "b"])) == [b"1", None, b"2"]
        asyncio.run(store.amset([("d", b"3")]))
        assert list(asyncio.run(store.amget(["d", "e"]))) == [b"3", None]
    damaged = SimpleKVStore()
    damaged.put("a", {"score": "no hex"}, "qwen3-rerank")
    damaged.put("b", {}, "qwen3-rerank")
    assert store_from(damaged).mget(["a", "b"]) == [None, None]


def test_langchain_s_files_take_the_keys(tmp_path: Path) -> None:
    for hits in (0, 2):
        reranker = Reranker(CachedEngine(FakeEngine(), LocalFileStore(tmp_path)))
        assert reranker.rank("cat", ["a cat", "a dog"]).usage.cache_hits == hits


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match="is a file"):
        DiskStore(tmp_path / "file")


@pytest.mark.parametrize("value", ["", " ", 1, None, object(), MemoryStore, {"file": "x"}, []])
def test_what_is_no_store(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="cache"):
        store_from(value)


def test_written_forms(tmp_path: Path) -> None:
    for store in (MemoryStore(5), DiskStore(tmp_path, 7)):
        twin: Any = store_from(store.written())
        assert twin.written() == store.written()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", " ", "~no-such-user/x", "x" * 300])
def test_what_names_no_folder(name: str) -> None:
    for value in (name, {"folder": name, "max_bytes": 1}):
        with pytest.raises(InvalidInputError, match=r"cannot be a folder") as caught:
            store_from(value)
        assert len(str(caught.value)) < 700
    with pytest.raises(InvalidInputError, match="cannot be a folder"):
        store_from({"folder": 5, "max_bytes": 1})


def test_a_folder_that_another_process_has_locked_costs_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stores, "_LOCK_SECONDS", 0.05)
    with Reranker(CachedEngine(FakeEngine(), tmp_path)) as reranker:
        first = reranker.rank("cat", ["a cat"])
        other = sqlite3.connect(tmp_path / "cache.db", isolation_level=None)
        # As of a process that was stopped while it wrote.
        other.execute("BEGIN IMMEDIATE")
        assert reranker.rank("cat", ["a cat", "a dog"]).usage.cache_hits == 1
        assert "pairs are scored without it" in caplog.text
        other.execute("ROLLBACK")
        other.close()
        assert reranker.rank("cat", ["a cat"]).results == first.results
