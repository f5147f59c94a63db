"""Groups: one bad text costs no other its score, and a dead engine is made anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from qwen3_ascend_retrievers import (
    CachedEngine,
    CascadeEngine,
    LocalEngine,
    RemoteEngine,
    Reranker,
)
from qwen3_ascend_retrievers.core.plan import Plan
from qwen3_ascend_retrievers.core.ranking import Score, Unscored
from qwen3_ascend_retrievers.engines.base import Call, Engine
from qwen3_ascend_retrievers.errors import (
    ConnectionFailedError,
    EngineClosedError,
    EngineError,
    StatusError,
    TooLongError,
)
from qwen3_ascend_retrievers.settings import RerankSettings
from qwen3_ascend_retrievers.testing import FakeEngine
from qwen3_ascend_retrievers.tools.bulk.groups import GroupRanking, GroupScorer, QueryGroup
from support.bulk_rows import HashEngine, RaisingEngine, hash_score


async def ranked(
    groups: Sequence[QueryGroup], make_engine: Callable[[], Engine] = HashEngine, **settings: Any
) -> list[GroupRanking]:
    scorer = GroupScorer(make_engine, RerankSettings(**settings))
    try:
        return await scorer.rank(groups)
    finally:
        await scorer.aclose()


def scores_of(ranking: GroupRanking) -> dict[int, float | None]:
    return {result.index: result.score for result in ranking.results}


async def test_every_group_gets_its_own_scores_in_order() -> None:
    groups = [QueryGroup(f"query {at}", [f"text {at}", f"other {at}"]) for at in range(50)]
    for group, ranking in zip(groups, await ranked(groups), strict=True):
        expected = [hash_score(group.query, document) for document in group.documents]
        assert scores_of(ranking) == dict(enumerate(expected))
        values = [result.score or 0 for result in ranking.results]
        assert values == sorted(values, reverse=True)
        assert (ranking.error, ranking.errors) == ("", {})


async def test_no_documents_is_an_empty_ranking() -> None:
    assert await ranked([QueryGroup("query", [])]) == [GroupRanking()]


@pytest.mark.parametrize("query", [None, 5, "", " \n", ["query"], float("nan"), b"query"])
async def test_a_wrong_query_is_its_group_s_error(query: Any) -> None:
    wrong, right = await ranked([QueryGroup(query, ["text"]), QueryGroup("query", ["text"])])
    assert wrong.error.startswith("InvalidInputError: query ")
    assert not wrong.results
    assert scores_of(right) == {0: hash_score("query", "text")}


@pytest.mark.parametrize("documents", [None, "text", 5, {"text": 1}, {"text"}])
async def test_documents_that_are_no_list_are_the_group_s_error(documents: Any) -> None:
    (ranking,) = await ranked([QueryGroup("query", documents)])
    assert ranking.error.startswith("InvalidInputError: documents must be a list of str")


@pytest.mark.parametrize("document", [None, 5, b"text", ["text"], float("nan")])
async def test_a_document_of_another_type_costs_no_other_its_score(document: Any) -> None:
    (ranking,) = await ranked([QueryGroup("query", ["a", document, "b"])])
    kind = type(document).__name__
    assert ranking.errors == {1: f"InvalidInputError: The document must be a str, not {kind}."}
    assert scores_of(ranking) == {0: hash_score("query", "a"), 2: hash_score("query", "b")}


async def test_long_documents_under_error_are_named_and_the_others_scored() -> None:
    long = "word " * 3000
    documents = [*"abc", long, "d", long]
    (ranking,) = await ranked(
        [QueryGroup("query", documents)], lambda: FakeEngine(max_length=1000), overflow="error"
    )
    assert set(ranking.errors) == {3, 5}
    for text in ranking.errors.values():
        assert text.startswith("TooLongError: The document ")
    assert {result.index for result in ranking.results} == {0, 1, 2, 4}
    (ranking,) = await ranked(
        [QueryGroup("word " * 3000, ["a"])], lambda: FakeEngine(max_length=1000)
    )
    assert ranking.error.startswith("TooLongError: ")


async def test_a_long_document_is_counted_as_cut() -> None:
    long = "word " * 3000
    groups = [QueryGroup("query", [long, "a"])]
    (ranking,) = await ranked(groups, lambda: FakeEngine(max_length=1000), top_n=1)
    assert (ranking.cut, len(ranking.results)) == (1, 1)


@pytest.mark.parametrize("count", [1, 2, 3, 17])
@pytest.mark.parametrize("poisoned", [0, 0.5, 1])
async def test_a_text_on_which_the_engine_raises_is_found(count: int, poisoned: float) -> None:
    at = round(poisoned * (count - 1))
    documents = [f"text {number}" + " POISON" * (number == at) for number in range(count)]
    (ranking,) = await ranked([QueryGroup("query", documents)], RaisingEngine)
    assert ranking.errors == {at: "RuntimeError: a kernel failed"}
    assert set(scores_of(ranking)) == {*range(count)} - {at}


async def test_an_engine_that_raises_for_all_is_the_group_s_error() -> None:
    error = EngineError("out of memory")
    groups = [QueryGroup("query", [*"abcd"])]
    (ranking,) = await ranked(groups, lambda: FakeEngine(error=error))
    assert ranking == GroupRanking(error="EngineError: out of memory")


async def test_an_engine_that_only_fails_on_the_sum_is_the_group_s_error() -> None:
    class Small(HashEngine):
        def _score(self, mode: str, plan: Plan, call: Call) -> list[Score]:
            if len(plan.passages) > 2:
                raise EngineError("out of memory")
            return super()._score(mode, plan, call)

    (ranking,) = await ranked([QueryGroup("query", [*"abcd"])], Small)
    assert ranking == GroupRanking(error="EngineError: out of memory")


async def test_a_server_that_is_gone_is_the_engine_s_failure_and_is_not_asked_by_halves() -> None:
    engine = FakeEngine(error=ConnectionFailedError("refused"))
    (ranking,) = await ranked([QueryGroup("query", [*"abcdefgh"])], lambda: engine)
    assert isinstance(ranking.engine_failure, ConnectionFailedError)
    assert ranking.error == "ConnectionFailedError: refused"
    assert len(engine.calls) == 1


async def test_what_a_server_refuses_alone_is_that_document_s_error() -> None:
    class Refusing(HashEngine):
        async def ascore(self, plan: Plan, call: Call) -> Any:
            scores: list[Any] = self._score("async", plan, call)
            return [Unscored(StatusError("refused", status=400)), *scores[1:]]

    (ranking,) = await ranked([QueryGroup("query", [*"abc"])], Refusing)
    assert ranking.errors == {0: "StatusError: refused"}
    assert set(scores_of(ranking)) == {1, 2}


class Mortal(HashEngine):
    """Dies after so many calls."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self._left = calls
        self.closed = False

    def _score(self, mode: str, plan: Plan, call: Call) -> list[Score]:
        self._left -= 1
        if self._left < 0:
            raise EngineClosedError("the workers have died")
        return super()._score(mode, plan, call)

    async def aclose(self) -> None:
        self.closed = True


async def test_a_dead_engine_is_made_anew_and_closed(caplog: pytest.LogCaptureFixture) -> None:
    engines: list[Mortal] = []

    def make_engine() -> Engine:
        engines.append(Mortal(calls=20))
        return engines[-1]

    groups = [QueryGroup(f"query {at}", ["text"]) for at in range(100)]
    for group, ranking in zip(groups, await ranked(groups, make_engine), strict=True):
        assert scores_of(ranking) == {0: hash_score(group.query, "text")}
    assert len(engines) == 5
    assert all(engine.closed for engine in engines)
    assert "made anew" in caplog.text


async def test_an_engine_that_dies_of_a_text_fails_that_group_alone() -> None:
    class Dying(HashEngine):
        def _score(self, mode: str, plan: Plan, call: Call) -> list[Score]:
            if "POISON" in plan.passages[0].text:
                raise EngineClosedError("the workers have died")
            return super()._score(mode, plan, call)

    groups = [QueryGroup(f"query {at}", [f"text{' POISON' * (at == 3)}"]) for at in range(6)]
    rankings = await ranked(groups, Dying)
    assert [at for at, ranking in enumerate(rankings) if ranking.error] == [3]
    assert isinstance(rankings[3].engine_failure, EngineClosedError)


async def test_settings_are_those_of_the_reranker() -> None:
    documents = [f"text {at}" for at in range(9)]
    scores = [hash_score("query", document) for document in documents]
    groups = [QueryGroup("query", documents)]
    (ranking,) = await ranked(groups, top_n=2)
    best = sorted(range(9), key=lambda at: -scores[at])
    assert [result.index for result in ranking.results] == best[:2]
    (ranking,) = await ranked(groups, score_threshold=0.5)
    assert [result.index for result in ranking.results] == [at for at in best if scores[at] >= 0.5]
    (ranking,) = await ranked(groups, max_documents=3)
    assert {at for at, score in scores_of(ranking).items() if score is None} == {*range(3, 9)}
    (ranking,) = await ranked(groups, lambda: CascadeEngine([FakeEngine(), HashEngine()], keep=2))
    assert len(ranking.results) == 9


async def test_the_real_model_scores_as_alone() -> None:
    group = QueryGroup(
        "What is the capital of China?", ["Beijing is the capital.", None, "Boil it."]
    )
    (ranking,) = await ranked([group], lambda: LocalEngine("tiny"))
    assert set(scores_of(ranking)) == {0, 2}
    assert ranking.results[0].index == 0
    assert set(ranking.errors) == {1}


async def test_start_raises_what_is_wrong_with_the_engine() -> None:
    scorer = GroupScorer(
        lambda: RemoteEngine("http://127.0.0.1:9", max_retries=0), RerankSettings()
    )
    with pytest.raises(ConnectionFailedError):
        await scorer.start()
    await scorer.aclose()


def _cascade(engine: Engine) -> Engine:
    return CascadeEngine([FakeEngine({"LONG": 1.0, "a good one": 0.9, "no": 0.8}), engine], keep=2)


@pytest.mark.parametrize("around", [CachedEngine, _cascade])
async def test_an_error_names_its_document_through_engines_that_score_parts(
    around: Callable[[Engine], Engine],
) -> None:
    class Refusing(FakeEngine):
        """As RemoteEngine: by the plan's own numbers."""

        async def ascore(self, plan: Plan, call: Call) -> list[Score]:
            for at, passage in enumerate(plan.passages):
                if passage.text == "LONG":
                    index = plan.input_of(at)
                    raise TooLongError(f"documents[{index}] does not fit", index=index)
            return await super().ascore(plan, call)

    engine = around(Refusing())
    documents = ["no", "a good one", "LONG"]
    with pytest.raises(TooLongError, match=r"documents\[2\] does not fit") as caught:
        await Reranker(engine).arank("good", documents)
    assert caught.value.index == 2
    known, mixed = [QueryGroup("good", documents[:2]), QueryGroup("good", documents)]
    await ranked([known], lambda: engine)
    (ranking,) = await ranked([mixed], lambda: engine)
    assert ranking.errors == {2: "TooLongError: The document does not fit"}
    assert sorted(scores_of(ranking)) == [0, 1]
