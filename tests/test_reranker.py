"""The facade, sync and async by the same test bodies: order, duplicates, pairs, the way round."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.core.plan import Plan
from qwen3_ascend_retrievers.core.prompt import INSTRUCTIONS
from qwen3_ascend_retrievers.core.ranking import Score
from qwen3_ascend_retrievers.core.results import Ranking, Usage
from qwen3_ascend_retrievers.core.validation import Pair
from qwen3_ascend_retrievers.engines.base import Call, EngineFacts
from qwen3_ascend_retrievers.errors import InvalidInputError
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
from support.strategies import texts


@rankings
async def test_by_score_with_ties_by_position(rank: Rank) -> None:
    engine = FakeEngine({"a": 0.2, "b": 0.9, "c": 0.2, "d": 0.9, "e": 1.0})
    made = await rank(Reranker(engine), "q", ["a", "b", "c", "d", "e"])
    assert order(made) == [4, 1, 3, 0, 2]
    assert [one.document for one in made.results] == ["e", "b", "d", "a", "c"]
    assert [one.score for one in made.results] == [1.0, 0.9, 0.9, 0.2, 0.2]
    assert (made.status, made.model, made.error) == ("reranked", "fake", None)
    assert made.usage == Usage(documents=5, passages=5, prompt_tokens=None)


@given(st.lists(st.sampled_from(["", " ", "cat", "dog", "cat dog", "<think>"]) | texts(3)))
def test_sync_and_async_come_to_the_same(documents: list[str]) -> None:
    engine = FakeEngine()
    reranker = Reranker(engine, score_threshold=0.5, top_n=5)
    given_documents = list(documents)
    one = reranker.rank("cat dog", documents)
    other = asyncio.run(reranker.arank("cat dog", documents))
    assert one.results == other.results
    assert one.usage == other.usage
    assert documents == given_documents
    assert [how for how, _ in engine.calls] == (["sync", "async"] if documents else [])


@rankings
async def test_top_n_and_its_override(rank: Rank) -> None:
    engine = FakeEngine({"a": 0.1, "b": 0.3, "c": 0.2})
    documents = ["a", "b", "c"]
    assert order(await rank(Reranker(engine), "q", documents)) == [1, 2, 0]
    assert order(await rank(Reranker(engine), "q", documents, 2)) == [1, 2]
    assert order(await rank(Reranker(engine, top_n=1), "q", documents)) == [1]
    assert order(await rank(Reranker(engine, top_n=1), "q", documents, top_n=9)) == [1, 2, 0]
    assert {texts for _, texts in engine.calls} == {("a", "b", "c")}


@rankings
async def test_the_threshold(rank: Rank) -> None:
    engine = FakeEngine({"a": 0.1, "b": 0.3, "c": 0.2})
    reranker = Reranker(engine, score_threshold=0.2)
    assert order(await rank(reranker, "q", ["a", "b", "c"])) == [1, 2]
    assert order(await rank(reranker, "q", ["a"])) == []


@rankings
async def test_equal_texts_are_scored_once(rank: Rank) -> None:
    engine = FakeEngine()
    made = await rank(Reranker(engine), "cat", ["dog", "cat", "dog", "cat"])
    assert engine.calls[0][1] == ("dog", "cat")
    assert order(made) == [1, 3, 0, 2]
    assert made.usage == Usage(documents=4, passages=2, prompt_tokens=None)


@rankings
async def test_blank_documents_are_scored_like_any_other(rank: Rank) -> None:
    made = await rank(Reranker(FakeEngine()), "cat", ["", " \n", "cat"])
    assert [(one.index, one.score) for one in made.results] == [(2, 1.0), (0, 0.0), (1, 0.0)]


@rankings
@scorings
async def test_empty_input_makes_no_call(rank: Rank, score: ScoreAll) -> None:
    class Untouchable(FakeEngine):
        def facts(self) -> EngineFacts:
            raise AssertionError("nothing was to be asked")

        async def afacts(self) -> EngineFacts:
            raise AssertionError("nothing was to be asked")

    reranker = Reranker(Untouchable())
    assert await rank(reranker, "q", []) == Ranking(())
    assert await rank(reranker, "q", iter(())) == Ranking(())
    assert await score(reranker, []) == []
    with pytest.raises(InvalidInputError, match="query is empty"):
        await rank(reranker, " ", [])


@rankings
@scorings
async def test_the_instruction_and_its_override(rank: Rank, score: ScoreAll) -> None:
    engine = CountingEngine()
    await rank(Reranker(engine), "q", ["a"])
    await rank(Reranker(engine, instruction="code_search"), "q", ["a"])
    await rank(Reranker(engine, instruction="code_search"), "q", ["a"], instruction="Find <think>")
    await score(Reranker(engine, instruction="faq"), [("q", "a")])
    await score(Reranker(engine, instruction="faq"), [("q", "a")], instruction="argument")
    assert [plan.queries[0].instruction for plan in engine.plans] == [
        INSTRUCTIONS["web_search"],
        INSTRUCTIONS["code_search"],
        "Find < think>",
        INSTRUCTIONS["faq"],
        INSTRUCTIONS["argument"],
    ]


@scorings
async def test_pairs_of_several_queries_go_in_one_call(score: ScoreAll) -> None:
    engine = CountingEngine()
    pairs: list[Pair] = [("cat", "a cat"), ("dog", "a cat"), ("cat", "a dog"), ("cat", "a cat")]
    assert await score(Reranker(engine), pairs) == [1.0, 0.0, 0.0, 1.0]
    (plan,) = engine.plans
    assert [query.query for query in plan.queries] == ["cat", "dog"]
    assert len(plan.passages) == 3


@rankings
async def test_a_bar_where_it_is_wished(rank: Rank, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[bool] = []

    def counting(plan: Plan, call: Call) -> list[Score]:
        seen.append(call.progress is not None)
        for _ in plan.passages:
            call.advance(1)
        return [Score(0.5)] * len(plan.passages)

    await rank(Reranker(FunctionEngine(counting)), "q", ["a", "b"])
    assert capsys.readouterr().err == ""
    await rank(Reranker(FunctionEngine(counting), show_progress=True), "q", ["a", "b"])
    shown = capsys.readouterr()
    assert "reranking" in shown.err
    assert "/2" in shown.err
    assert shown.out == ""
    assert seen == [False, True]


@rankings
async def test_timings_add_up(rank: Rank) -> None:
    timings = (await rank(Reranker(FakeEngine()), "q", ["a"])).timings
    assert timings.plan > 0
    assert timings.score > 0
    assert timings.plan + timings.score == pytest.approx(timings.total)


@rankings
async def test_what_the_engine_knows_is_passed_on(rank: Rank) -> None:
    class Verified(FakeEngine):
        def facts(self) -> EngineFacts:
            return EngineFacts(model="m", max_length=None, template_verified=True)

        async def afacts(self) -> EngineFacts:
            return self.facts()

    engine = Verified()
    made = await rank(Reranker(engine), "q", ["a"])
    assert (made.model, made.template_verified) == ("m", True)
    assert made.results[0].logit is None
    logits = FunctionEngine(lambda plan, call: [Score.of_logit(2.0)])
    assert (await rank(Reranker(logits), "q", ["a"])).results[0].logit == 2.0


async def test_leaving_closes_the_engine() -> None:
    closed: list[str] = []

    class Closing(FakeEngine):
        def close(self) -> None:
            closed.append("sync")

        async def aclose(self) -> None:
            closed.append("async")

    with Reranker(Closing()) as reranker:
        assert order(reranker.rank("q", ["a"])) == [0]
        assert closed == []
    async with Reranker(Closing()) as reranker:
        assert order(await reranker.arank("q", ["a"])) == [0]
    assert closed == ["sync", "async"]


def test_threads_and_loops_share_a_reranker() -> None:
    reranker = Reranker(CountingEngine(300))
    documents = [f"{number} cats" if number % 3 else f"cat {number}" for number in range(60)]
    wanted = reranker.rank("cat", documents).results
    found: list[Any] = []

    def work(number: int) -> None:
        if number % 2:
            found.append(reranker.rank("cat", documents).results)
        else:
            found.append(asyncio.run(reranker.arank("cat", documents)).results)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [wanted] * 8
