"""CascadeEngine with real stages: what each sees, how it is written down, and how it fails."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest

from qwen3_ascend_retrievers import (
    Call,
    CascadeEngine,
    LocalEngine,
    Reranker,
    VLLMEngine,
    langchain,
    llama_index,
)
from qwen3_ascend_retrievers.core.ranking import Stage
from qwen3_ascend_retrievers.engines.registry import engine_from_config
from qwen3_ascend_retrievers.errors import EngineError, InvalidInputError, RerankCancelled
from qwen3_ascend_retrievers.testing import FakeEngine
from support.odd_engines import Foreign
from support.reranker_calls import CountingEngine, FunctionEngine, Rank, order, rankings

SMALL = {"a": 0.1, "b": 0.9, "c": 0.8, "d": 0.2}
BIG = {"a": 0.7, "b": 0.3, "c": 0.6, "d": 0.5}
DOCUMENTS = list(SMALL)


def cascade(keep: int = 2, **big: Any) -> tuple[CascadeEngine, FakeEngine, FakeEngine]:
    first, last = FakeEngine(SMALL, model="small"), FakeEngine(BIG, model="big", **big)
    return CascadeEngine([first, last], keep=keep), first, last


@rankings
async def test_the_best_of_the_small_model_by_the_big_one(rank: Rank) -> None:
    engine, first, last = cascade()
    ranking = await rank(Reranker(engine), "q", DOCUMENTS)
    assert order(ranking) == [2, 1, 3, 0]
    assert [result.score for result in ranking.results] == [0.6, 0.3, 0.2, 0.1]
    assert [result.stage for result in ranking.results] == [Stage(2, 2)] * 2 + [Stage(1, 2)] * 2
    assert ranking.model == "small > big"
    assert [texts for _, texts in first.calls] == [("a", "b", "c", "d")]
    assert [texts for _, texts in last.calls] == [("b", "c")]


@rankings
async def test_the_threshold_is_for_the_big_model(rank: Rank) -> None:
    engine, *_ = cascade()
    ranking = await rank(Reranker(engine, score_threshold=0.5, top_n=2), "q", DOCUMENTS)
    assert order(ranking) == [2, 3]


@rankings
async def test_a_stage_that_fails_fails_the_call_or_keeps_the_order(rank: Rank) -> None:
    engine, *_ = cascade(error=EngineError("down"))
    with pytest.raises(EngineError, match="down"):
        await rank(Reranker(engine), "q", DOCUMENTS)
    ranking = await rank(Reranker(engine, on_error="keep_order"), "q", DOCUMENTS)
    assert (order(ranking), ranking.status) == ([0, 1, 2, 3], "kept_order")


def test_windows_go_on_together() -> None:
    words = " ".join(f"word{at}" for at in range(300))
    first, last = CountingEngine(max_length=300), CountingEngine()
    reranker = Reranker(CascadeEngine([first, last], keep=1), overflow="window")
    ranking = reranker.rank("word299", [words, "nothing of it"])
    (plan,) = last.plans
    assert len(plan.passages) == ranking.results[0].windows > 1
    assert ranking.results[0].stage == Stage(2, 2)


def test_facts_of_both() -> None:
    engine = CascadeEngine([FakeEngine(max_length=500), FakeEngine(max_length=300)])
    assert engine.facts() == asyncio.run(engine.afacts())
    assert engine.facts().max_length == 300


def test_bars_count_the_first_stage_only() -> None:
    engine, *_ = cascade()
    plan = Reranker(engine).outcome("q", DOCUMENTS).plan
    advances: list[int] = []
    engine.score(plan, Call(progress=advances.append))
    assert sum(advances) == len(DOCUMENTS)


def test_cancelling_between_the_stages() -> None:
    import threading

    cancel = threading.Event()

    def first(plan: Any, call: Any) -> Any:
        cancel.set()
        return FakeEngine().score(plan, type(call)())

    last = FakeEngine()
    engine = CascadeEngine([FunctionEngine(first), last])
    with pytest.raises(RerankCancelled):
        Reranker(engine).rank("q", DOCUMENTS, cancel=cancel)
    assert last.calls == []


def test_written_down_pickled_and_copied() -> None:
    engine, *_ = cascade(keep=3)
    written = engine.tagged_config()
    assert written["keep"] == [3]
    for twin in (engine_from_config(written), pickle.loads(pickle.dumps(engine))):
        assert isinstance(twin, CascadeEngine)
        assert twin.tagged_config() == written
        assert order(Reranker(twin).rank("q", DOCUMENTS)) == [2, 3, 1, 0]
    with pytest.raises(InvalidInputError, match="foreign class Foreign"):
        CascadeEngine([Foreign(), FakeEngine()]).config()
    assert "Foreign" in repr(CascadeEngine([Foreign(), FakeEngine()]))


class Closes(FakeEngine):
    """Notes that it was closed, and fails in it."""

    closed = False

    def close(self) -> None:
        self.closed = True
        raise EngineError("at its end")


def test_all_stages_are_closed_even_if_one_fails() -> None:
    stages = [Closes(), Closes()]
    with pytest.raises(EngineError, match="at its end"):
        CascadeEngine(stages).close()
    assert [stage.closed for stage in stages] == [True, True]


@pytest.mark.parametrize(
    ("stages", "keep", "words"),
    [
        ([FakeEngine()], 20, "at least two engines"),
        (FakeEngine(), 20, "at least two engines"),
        ([FakeEngine(), "tiny"], 20, r"stages\[1\] must be an engine object"),
        ([FakeEngine(), FakeEngine], 20, r"stages\[1\] must be an engine object"),
        ([FakeEngine(), {"engine": "none"}], 20, "needs 'engine'"),
        ([FakeEngine(), CascadeEngine([FakeEngine()] * 2)], 20, r"stages\[1\] is a cascade"),
        ([CascadeEngine([FakeEngine()] * 2), FakeEngine()], 20, r"stages\[0\] is a cascade"),
        ([FakeEngine(), FakeEngine()], 0, "keep must be a whole number of at least 1"),
        ([FakeEngine(), FakeEngine()], "many", "keep must be a whole number of at least 1"),
        ([FakeEngine(), FakeEngine()], [5, 5], "keep must be one number, or 1 for 2 stages"),
    ],
)
def test_wrong_arguments(stages: Any, keep: Any, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        CascadeEngine(stages, keep)


@pytest.mark.parametrize("kind", [langchain.Qwen3Rerank, llama_index.Qwen3Rerank])
def test_in_both_adapters(kind: Any) -> None:
    engine, *_ = cascade()
    rerank = kind(engine=engine, top_n=None)
    rows = rerank.rerank(DOCUMENTS, "q")
    assert [row["index"] for row in rows] == [2, 1, 3, 0]
    assert [row.get("rerank_stage") for row in rows] == [None, None, 1, 1]
    assert rows == asyncio.run(rerank.arerank(DOCUMENTS, "q"))
    detailed = kind(engine=engine, top_n=None, diagnostics=True).rerank(DOCUMENTS, "q")
    assert [row["rerank_stage"] for row in detailed] == [2, 2, 1, 1]
    assert pickle.loads(pickle.dumps(rerank)).rerank(DOCUMENTS, "q") == rows


def test_two_real_models_in_one_process() -> None:
    documents = ["Beijing is the capital of China.", "Gravity attracts bodies.", "An egg boils."]
    with LocalEngine("tiny", device="cpu") as alone:
        expected = Reranker(alone).rank("capital of China", documents)
    with CascadeEngine([FakeEngine(), LocalEngine("tiny", device="cpu")], keep=2) as engine:
        ranking = Reranker(engine).rank("capital of China", documents)
    assert ranking.results[0].score == pytest.approx(expected.results[0].score, abs=1e-5)
    assert [result.stage for result in ranking.results] == [Stage(2, 2)] * 2 + [Stage(1, 2)]


def test_nothing_is_loaded_before_first_use() -> None:
    CascadeEngine([VLLMEngine("nowhere"), LocalEngine("nowhere")])
