"""CachedEngine: what is scored again, by whom, and what happens when store or engine fail."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import shutil
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from qwen3_ascend_retrievers import (
    CachedEngine,
    Call,
    CascadeEngine,
    LocalEngine,
    RemoteEngine,
    Reranker,
    langchain,
    llama_index,
)
from qwen3_ascend_retrievers._util import tracing
from qwen3_ascend_retrievers.core.ranking import Score, Unscored
from qwen3_ascend_retrievers.engines.cache import MemoryStore
from qwen3_ascend_retrievers.engines.registry import engine_from_config
from qwen3_ascend_retrievers.errors import EngineError, InvalidInputError, RerankCancelled
from qwen3_ascend_retrievers.models.files import TINY_FOLDER
from qwen3_ascend_retrievers.testing import FakeEngine
from support.rerank_answers import rerank_only_setup
from support.rerank_server import RerankServer
from support.reranker_calls import FunctionEngine, Rank, order, rankings

DOCUMENTS = ["a cat", "a dog", "cat and dog"]


class SlowEngine(FakeEngine):
    """Takes a moment, and counts how often each text was scored."""

    def __init__(self, seconds: float = 0.05) -> None:
        super().__init__()
        self._seconds = seconds
        self.scored: Counter[str] = Counter()

    def score(self, plan: Any, call: Any) -> list[Score]:
        self.scored.update(passage.text for passage in plan.passages)
        time.sleep(self._seconds)
        return super().score(plan, call)

    async def ascore(self, plan: Any, call: Any) -> list[Score]:
        self.scored.update(passage.text for passage in plan.passages)
        await asyncio.sleep(self._seconds)
        return await super().ascore(plan, call)


@rankings
async def test_a_pair_is_scored_once(rank: Rank, tmp_path: Path) -> None:
    for store in (True, tmp_path / "folder", MemoryStore()):
        engine = FakeEngine()
        with Reranker(CachedEngine(engine, store)) as reranker:
            first = await rank(reranker, "cat", DOCUMENTS)
            again = await rank(reranker, "cat", [*DOCUMENTS, "new"])
        plain = Reranker(FakeEngine()).rank("cat", [*DOCUMENTS, "new"])
        assert again.results == plain.results
        assert [texts for _, texts in engine.calls] == [tuple(DOCUMENTS), ("new",)]
        assert (first.usage.cache_hits, again.usage.cache_hits) == (0, 3)


@rankings
async def test_other_queries_and_instructions_are_others(rank: Rank) -> None:
    engine = FakeEngine()
    reranker = Reranker(CachedEngine(engine))
    await rank(reranker, "cat", DOCUMENTS)
    await rank(reranker, "dog", DOCUMENTS)
    await rank(reranker, "cat", DOCUMENTS, instruction="Find dogs in the garden.")
    assert len(engine.calls) == 3
    await rank(reranker, "dog", DOCUMENTS)
    assert len(engine.calls) == 3


def test_windows_and_cuts_are_scored_as_they_are() -> None:
    text = "many words " * 400
    engine = FakeEngine(max_length=400)
    cached = CachedEngine(engine)
    for overflow, passages in (("truncate", 1), ("window", 2)):
        reranker = Reranker(cached, overflow=overflow)
        first, again = (reranker.rank("words", [text]) for _ in range(2))
        assert first.results == again.results
        assert again.usage.cache_hits == again.usage.passages >= passages
    assert len(engine.calls) == 2


def test_eight_threads_score_each_pair_once() -> None:
    engine = SlowEngine()
    reranker = Reranker(CachedEngine(engine))
    documents = [f"cat {at}" for at in range(100)]
    with ThreadPoolExecutor(8) as pool:
        rankings_ = list(pool.map(lambda _: reranker.rank("cat", documents), range(8)))
    assert set(engine.scored.values()) == {1}
    assert len(engine.scored) == 100
    assert sum(ranking.usage.cache_hits for ranking in rankings_) == 700
    assert {order(ranking)[0] for ranking in rankings_} == {0}


async def test_64_tasks_score_each_pair_once() -> None:
    engine = SlowEngine()
    reranker = Reranker(CachedEngine(engine))
    documents = [f"cat {at}" for at in range(100)]

    async def some(number: int) -> None:
        # Overlapping parts, each in another order.
        part = documents[number % 50 : number % 50 + 50]
        await reranker.arank("cat", part[::-1] if number % 2 else part)

    await asyncio.gather(*(some(number) for number in range(64)))
    assert set(engine.scored.values()) == {1}
    assert len(engine.scored) == 100 - 1


def test_threads_and_loops_together() -> None:
    engine = SlowEngine()
    reranker = Reranker(CachedEngine(engine))

    def call(number: int) -> int:
        if number % 2:
            return asyncio.run(reranker.arank("cat", DOCUMENTS)).usage.cache_hits
        return reranker.rank("cat", DOCUMENTS).usage.cache_hits

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(call, range(8))) == 7 * 3
    assert set(engine.scored.values()) == {1}


def test_who_waited_for_a_call_that_failed_scores_itself() -> None:
    begun, failing = threading.Event(), threading.Event()

    def answer(plan: Any, call: Any) -> Any:
        if not begun.is_set():
            begun.set()
            assert failing.wait(10)
            raise EngineError("the first one fails")
        return [Score(0.5) for _ in plan.passages]

    reranker = Reranker(CachedEngine(FunctionEngine(answer), cache_namespace="x"))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(reranker.rank, "cat", DOCUMENTS)
        assert begun.wait(10)
        second = pool.submit(reranker.rank, "cat", DOCUMENTS)
        failing.set()
        with pytest.raises(EngineError, match="the first one fails"):
            first.result()
        assert [result.score for result in second.result().results] == [0.5] * 3


async def test_a_cancelled_task_leaves_nobody_waiting() -> None:
    class Hangs(FakeEngine):
        hanging = True

        async def ascore(self, plan: Any, call: Any) -> list[Score]:
            if self.hanging:
                await asyncio.sleep(60)
            return await super().ascore(plan, call)

    engine = Hangs()
    reranker = Reranker(CachedEngine(engine))
    first = asyncio.ensure_future(reranker.arank("cat", DOCUMENTS))
    await asyncio.sleep(0.05)
    second = asyncio.ensure_future(reranker.arank("cat", DOCUMENTS))
    waiting = asyncio.ensure_future(reranker.arank("cat", DOCUMENTS))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    engine.hanging = False
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert order(await asyncio.wait_for(second, 10)) == [0, 2, 1]


def test_a_caller_who_waits_can_stop() -> None:
    engine = SlowEngine(1.0)
    reranker = Reranker(CachedEngine(engine))
    cancel = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(reranker.rank, "cat", DOCUMENTS)
        while not engine.scored:
            time.sleep(0.01)
        second = pool.submit(reranker.rank, "cat", DOCUMENTS, cancel=cancel)
        cancel.set()
        with pytest.raises(RerankCancelled):
            second.result()
        assert not first.done()


def test_what_could_not_be_scored_is_tried_again() -> None:
    failure = Unscored(EngineError("it alone"))
    answers = [[Score(0.5), failure], [Score(0.25)]]
    engine = FunctionEngine(lambda plan, call: answers.pop(0))
    reranker = Reranker(CachedEngine(engine, cache_namespace="x"))
    first = reranker.rank("q", ["a", "b"])
    assert first.results[1].error is failure.error
    again = reranker.rank("q", ["a", "b"])
    assert [result.score for result in again.results] == [0.5, 0.25]
    assert again.usage.cache_hits == 1


class BrokenStore:
    """A store that fails, or answers nonsense."""

    def __init__(self, answer: Any = None) -> None:
        self._answer = answer

    def mget(self, keys: Sequence[str]) -> Any:
        if self._answer is None:
            raise OSError("No space left on device")
        return self._answer

    def mset(self, pairs: Any) -> None:
        raise OSError("No space left on device")


@pytest.mark.parametrize("answer", [None, [], "nonsense", [b"x"] * 3, [1, None, "x"]])
@rankings
async def test_a_store_that_fails_is_passed_over(
    rank: Rank, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    reranker = Reranker(CachedEngine(FakeEngine(), BrokenStore(answer)))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            ranking = await rank(reranker, "cat", DOCUMENTS)
            assert (order(ranking), ranking.usage.cache_hits) == ([0, 2, 1], 0)
    (record,) = caplog.records
    assert "No space left on device" in record.getMessage()


def test_a_damaged_folder_is_no_obstacle(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "cache.db").write_bytes(b"this is no database" * 100)
    ranking = Reranker(CachedEngine(FakeEngine(), tmp_path)).rank("cat", DOCUMENTS)
    assert order(ranking) == [0, 2, 1]
    assert "pairs are scored without it" in caplog.text


def test_hits_and_misses_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    reranker = Reranker(CachedEngine(FakeEngine()))
    with caplog.at_level(logging.DEBUG, "qwen3_ascend_retrievers"):
        reranker.rank("cat", DOCUMENTS)
        reranker.rank("cat", DOCUMENTS)
    assert [record.getMessage() for record in caplog.records if "cache" in record.name] == [
        "cache: 0 hits, 3 misses",
        "cache: 3 hits, 0 misses",
    ]


@rankings
async def test_a_span_has_hits_and_misses(rank: Rank, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", lambda: provider.get_tracer("test"))
    reranker = Reranker(CachedEngine(FakeEngine()))
    await rank(reranker, "cat", DOCUMENTS[:2])
    await rank(reranker, "cat", DOCUMENTS)
    assert [dict(found.attributes or {}) for found in exporter.get_finished_spans()] == [
        {"rerank.passages": 2, "rerank.cache.hits": 0, "rerank.cache.misses": 2},
        {"rerank.passages": 3, "rerank.cache.hits": 2, "rerank.cache.misses": 1},
    ]


def test_bars_end_with_hits_too() -> None:
    engine = CachedEngine(FakeEngine())
    Reranker(engine).rank("cat", DOCUMENTS[:2])
    plan = Reranker(FakeEngine()).outcome("cat", DOCUMENTS).plan
    advances: list[int] = []
    engine.score(plan, Call(progress=advances.append))
    assert advances == [2, 1]


def test_another_model_dtype_or_revision_never_hits(tmp_path: Path) -> None:
    store = MemoryStore()
    copies = [tmp_path / "one", tmp_path / "two"]
    for copy in copies:
        shutil.copytree(TINY_FOLDER, copy)
    snapshots = [tmp_path / "snapshots" / commit for commit in ("a" * 40, "b" * 40)]
    for snapshot in snapshots:
        shutil.copytree(TINY_FOLDER, snapshot)
    changed = copies[1] / "config.json"
    config = json.loads(changed.read_text())
    changed.write_text(json.dumps(config | {"rms_norm_eps": 1e-5}))
    engines = [
        LocalEngine(str(copies[0]), device="cpu", dtype="float32"),
        LocalEngine(str(copies[0]), device="cpu", dtype="bfloat16"),
        LocalEngine(str(copies[1]), device="cpu", dtype="float32"),
        *(LocalEngine(str(folder), device="cpu", dtype="float32") for folder in snapshots),
    ]
    for engine in engines:
        with Reranker(CachedEngine(engine, store)) as reranker:
            assert reranker.rank("cat", DOCUMENTS).usage.cache_hits == 0
            assert reranker.rank("cat", DOCUMENTS).usage.cache_hits == 3


def test_the_same_weights_under_the_same_name_hit_in_another_engine(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    expected = None
    for hits in (0, 3):
        with Reranker(CachedEngine(LocalEngine("tiny", device="cpu"), folder)) as reranker:
            ranking = reranker.rank("cat", DOCUMENTS)
        assert ranking.usage.cache_hits == hits
        assert expected in (None, ranking.results)
        expected = ranking.results


def test_a_server_needs_a_namespace() -> None:
    with RerankServer(rerank_only_setup()) as server:
        with pytest.raises(InvalidInputError, match="cache_namespace"):
            CachedEngine(RemoteEngine(server.url))
        store, hits = MemoryStore(), []
        for namespace in ("v1", "v1", "v2"):
            with Reranker(
                CachedEngine(RemoteEngine(server.url), store, cache_namespace=namespace)
            ) as reranker:
                hits.append(reranker.rank("cat", DOCUMENTS).usage.cache_hits)
    assert hits == [0, 3, 0]


def test_a_cascade_caches_its_stages() -> None:
    small, big = FakeEngine(model="small"), FakeEngine(model="big")
    with pytest.raises(InvalidInputError, match="Cache its stages"):
        CachedEngine(CascadeEngine([small, big]))
    rerank = langchain.Qwen3Rerank(engine=CascadeEngine([small, big], keep=1), cache=True)
    for _ in range(2):
        assert [row["index"] for row in rerank.rerank(DOCUMENTS, "cat")] == [0, 2, 1]
    assert (len(small.calls), len(big.calls)) == (1, 1)


def test_written_down_and_pickled(tmp_path: Path) -> None:
    cached = CachedEngine(FakeEngine({"a": 0.5}), tmp_path, cache_namespace="v1")
    written = cached.tagged_config()
    for twin in (engine_from_config(written), pickle.loads(pickle.dumps(cached))):
        assert isinstance(twin, CachedEngine)
        assert twin.tagged_config() == written
    assert not list(tmp_path.iterdir())
    with pytest.raises(InvalidInputError, match="foreign class BrokenStore"):
        CachedEngine(FakeEngine(), BrokenStore()).config()
    assert "BrokenStore" in repr(CachedEngine(FakeEngine(), BrokenStore()))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"engine": "tiny"}, "engine must be an engine object"),
        ({"engine": FakeEngine}, "engine must be an engine object"),
        ({"engine": FakeEngine(), "store": 3}, "cache must be True"),
        ({"engine": FakeEngine(), "cache_namespace": " "}, "cache_namespace must be"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        CachedEngine(**arguments)


KINDS = pytest.mark.parametrize("kind", [langchain.Qwen3Rerank, llama_index.Qwen3Rerank])


@KINDS
def test_in_both_adapters(kind: Any, tmp_path: Path) -> None:
    for cache in (True, str(tmp_path / "folder"), tmp_path / "path", MemoryStore()):
        engine = FakeEngine()
        rerank = kind(engine=engine, cache=cache)
        rows = rerank.rerank(DOCUMENTS, "cat")
        assert asyncio.run(rerank.arerank(DOCUMENTS, "cat")) == rows
        assert rerank.model_copy(update={"top_n": 1}).rerank(DOCUMENTS, "cat") == rows[:1]
        assert len(engine.calls) == 1
        rerank.close()
        rerank.close()


@KINDS
def test_components_with_a_cache_are_written_down(kind: Any, tmp_path: Path) -> None:
    rerank = kind(engine=FakeEngine(), cache=tmp_path / "folder")
    first = rerank.rerank(DOCUMENTS, "cat")
    twin = pickle.loads(pickle.dumps(rerank))
    assert twin.rerank(DOCUMENTS, "cat") == first
    for component in (rerank, twin):
        component.close()
    if kind is llama_index.Qwen3Rerank:
        third = kind.from_dict(rerank.to_dict())
        assert third.rerank(DOCUMENTS, "cat") == first
        third.close()
    with pytest.raises(InvalidInputError, match="foreign class BrokenStore"):
        pickle.dumps(kind(engine=FakeEngine(), cache=BrokenStore()))
    assert kind(engine=FakeEngine(), cache=False).cache is None


@KINDS
def test_wrong_caches_in_adapters(kind: Any) -> None:
    for arguments, words in (
        ({"engine": FakeEngine(), "cache": 3}, "cache must be True"),
        ({"engine": FakeEngine(), "cache_namespace": "x"}, "pass cache too"),
        ({"base_url": "http://127.0.0.1:9", "cache": True}, "Pass cache_namespace"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            kind(**arguments)
