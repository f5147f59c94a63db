"""The facade when it cannot rank: bad input, failing engines, a cancelled call."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.core.plan import Plan
from qwen3_ascend_retrievers.core.ranking import RankedDocument, Score
from qwen3_ascend_retrievers.core.results import Usage
from qwen3_ascend_retrievers.engines.base import Call, EngineFacts
from qwen3_ascend_retrievers.errors import (
    EngineError,
    InvalidInputError,
    MissingDependencyError,
    RerankCancelled,
    RerankError,
    ScoreError,
    TooLongError,
)
from qwen3_ascend_retrievers.testing import FakeEngine
from support.reranker_calls import (
    CountingEngine,
    FunctionEngine,
    Rank,
    ScoreAll,
    order,
    rankings,
    scorings,
)


@rankings
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, ["a"]), "query must be a str"),
        ((b"q", ["a"]), "query must be a str"),
        (("", ["a"]), "query is empty"),
        (("q", "abc"), "documents must be a list"),
        (("q", None), "documents must be a list"),
        (("q", {"a": 1}), "documents must be a list"),
        (("q", ["a", 3]), r"documents\[1\] must be a str"),
        (("q", ["a"], 0), "would drop every document"),
        (("q", [], -1), "top_n must be"),
        (("q", ["a"], True), "top_n must be"),
        (("q", ["a"], 1.5), "top_n must be"),
    ],
)
async def test_bad_input_is_always_an_error(rank: Rank, arguments: Any, message: str) -> None:
    engine = FakeEngine()
    with pytest.raises(InvalidInputError, match=message):
        await rank(Reranker(engine, on_error="keep_order"), *arguments)
    assert engine.calls == []


@rankings
@pytest.mark.parametrize("documents", [["a"], []])
async def test_a_wish_to_stop_that_is_no_event_is_an_error(rank: Rank, documents: Any) -> None:
    engine = FakeEngine()
    with pytest.raises(InvalidInputError, match=r"cancel must be a threading\.Event"):
        await rank(Reranker(engine, on_error="keep_order"), "q", documents, cancel=True)
    assert engine.calls == []


@rankings
@scorings
@pytest.mark.parametrize("wrong", ["", " ", 3, b"x"])
async def test_a_bad_instruction_is_an_error(rank: Rank, score: ScoreAll, wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="instruction must be"):
        await rank(Reranker(FakeEngine()), "q", ["a"], instruction=wrong)
    with pytest.raises(InvalidInputError, match="instruction must be"):
        await score(Reranker(FakeEngine()), [("q", "a")], instruction=wrong)
    with pytest.raises(InvalidInputError, match="instruction must be"):
        Reranker(FakeEngine(), instruction=wrong)


@pytest.mark.parametrize("wrong", [None, "tiny", object(), 3])
def test_an_engine_is_an_engine(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="engine must be an engine object"):
        Reranker(wrong)


def test_settings_are_checked_at_once() -> None:
    with pytest.raises(InvalidInputError, match="top_n"):
        Reranker(FakeEngine(), top_n=0)
    with pytest.raises(InvalidInputError, match="overflow"):
        Reranker(FakeEngine(), overflow="cut")  # type: ignore[arg-type]


FAILURES: list[RerankError] = [
    EngineError("broken"),
    TooLongError("long", index=0),
    RerankError("x"),
]


@rankings
@pytest.mark.parametrize("error", FAILURES)
async def test_the_order_is_kept_where_it_is_wished(
    rank: Rank, error: RerankError, caplog: pytest.LogCaptureFixture
) -> None:
    documents = ["c", "a", "b", "a"]
    reranker = Reranker(
        FakeEngine(error=error), on_error="keep_order", top_n=3, score_threshold=0.9
    )
    with caplog.at_level(logging.WARNING, "qwen3_ascend_retrievers"):
        made = await rank(reranker, "q", documents)
    assert made.results == tuple(
        RankedDocument(at, text, None) for at, text in enumerate(documents[:3])
    )
    assert (made.status, made.error, made.model) == ("kept_order", error, "fake")
    assert made.usage == Usage(documents=4, passages=0, prompt_tokens=None)
    assert made.timings.total > 0
    assert str(error) in caplog.text
    assert order(await rank(reranker, "q", documents, top_n=1)) == [0]
    with pytest.raises(type(error)) as caught:
        await rank(Reranker(FakeEngine(error=error)), "q", documents)
    assert caught.value is error


@rankings
async def test_an_engine_that_never_gets_ready(rank: Rank) -> None:
    class Absent(FakeEngine):
        def facts(self) -> EngineFacts:
            raise EngineError("no server")

        async def afacts(self) -> EngineFacts:
            raise EngineError("no server")

    made = await rank(Reranker(Absent(), on_error="keep_order"), "q", ["a"])
    assert (made.status, made.model, str(made.error)) == ("kept_order", None, "no server")
    with pytest.raises(EngineError, match="no server"):
        await rank(Reranker(Absent()), "q", ["a"])


def test_asking_for_tokens_may_fail_too() -> None:
    class Mute(CountingEngine):
        def encode(self, texts: Sequence[str]) -> Any:
            raise EngineError("no tokenizer")

    with pytest.raises(EngineError, match="no tokenizer"):
        Reranker(Mute()).rank("q", ["a"])
    assert Reranker(Mute(), on_error="keep_order").rank("q", ["a"]).status == "kept_order"


@rankings
@pytest.mark.parametrize(
    "error",
    [InvalidInputError("i"), MissingDependencyError("m"), RerankCancelled("c"), OSError("bug")],
)
async def test_what_is_no_failure_to_score_is_raised(rank: Rank, error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        await rank(Reranker(FakeEngine(error=error), on_error="keep_order"), "q", ["a"])
    assert caught.value is error


@rankings
@pytest.mark.parametrize(
    "wrong", [None, [], [Score(0.5)], [Score(0.5), Score(float("nan"))], [0.1, 0.2]]
)
async def test_scores_that_cannot_be_believed(rank: Rank, wrong: Any) -> None:
    engine = FunctionEngine(lambda plan, call: wrong)
    with pytest.raises(ScoreError):
        await rank(Reranker(engine), "q", ["a", "b"])
    kept = await rank(Reranker(engine, on_error="keep_order"), "q", ["a", "b"])
    assert isinstance(kept.error, ScoreError)


@scorings
async def test_scoring_pairs_always_raises(score: ScoreAll) -> None:
    reranker = Reranker(FakeEngine(error=EngineError("broken")), on_error="keep_order")
    with pytest.raises(EngineError, match="broken"):
        await score(reranker, [("q", "d")])
    for wrong in ("qd", [("q",)], [("q", 1)], [(" ", "d")], None):
        with pytest.raises(InvalidInputError, match="pairs"):
            await score(reranker, wrong)


@rankings
async def test_a_wish_to_stop_is_heard_before_and_during_scoring(rank: Rank) -> None:
    cancel = threading.Event()

    def stopping(plan: Plan, call: Call) -> list[Score]:
        cancel.set()
        call.check()
        raise AssertionError("the check must have raised")

    reranker = Reranker(FunctionEngine(stopping), on_error="keep_order")
    with pytest.raises(RerankCancelled):
        await rank(reranker, "q", ["a"], cancel=cancel)
    engine = FakeEngine()
    with pytest.raises(RerankCancelled):
        await rank(Reranker(engine), "q", ["a"], cancel=cancel)
    assert engine.calls == []
    cancel.clear()
    assert order(await rank(Reranker(engine), "q", ["a"], cancel=cancel)) == [0]
    assert not cancel.is_set()


async def test_cancelling_the_task_stops_the_engine() -> None:
    began = asyncio.Event()
    calls: list[Call] = []

    class Waiting(FakeEngine):
        async def ascore(self, plan: Plan, call: Call) -> list[Score]:
            calls.append(call)
            began.set()
            await asyncio.Event().wait()
            raise AssertionError("nobody sets that event")

    cancel = threading.Event()
    task = asyncio.create_task(Reranker(Waiting()).arank("q", ["a"], cancel=cancel))
    await began.wait()
    assert not calls[0].cancelled.is_set()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert calls[0].cancelled.is_set()
    assert not cancel.is_set()


@rankings
async def test_a_bar_without_tqdm(rank: Rank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    reranker = Reranker(FakeEngine(), show_progress=True, on_error="keep_order")
    with pytest.raises(MissingDependencyError, match=r"qwen3-ascend-retrievers\[progress\]"):
        await rank(reranker, "q", ["a"])
