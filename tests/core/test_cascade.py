"""Which passages reach which stage of a cascade, and whose score counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_ascend_retrievers.core.cascade import (
    CascadeQuestion,
    NeedStageScores,
    NeedStageTokens,
    StageLimits,
    cascade_steps,
)
from qwen3_ascend_retrievers.core.plan import Passage, Plan, Query
from qwen3_ascend_retrievers.core.ranking import PassageScore, Score, Stage, Unscored, rank
from qwen3_ascend_retrievers.core.steps import drive
from qwen3_ascend_retrievers.core.tokens import Tokens
from qwen3_ascend_retrievers.errors import EngineError, ScoreError, TooLongError

ANY = StageLimits(needs_tokens=False, max_length=None)
FAILURE = Unscored(EngineError("it alone"))


def plan_of(*groups: Sequence[Sequence[str]]) -> Plan:
    """A plan with one query for each group, of documents with one or more windows."""
    passages: list[Passage] = []
    inputs: list[tuple[int, ...]] = []
    for query, documents in enumerate(groups):
        for windows in documents:
            first = len(passages)
            passages += [Passage(query, text, (0, len(text)), (1,)) for text in windows]
            inputs.append(tuple(range(first, len(passages))))
    queries = [Query(f"q{at}", "i", f"part {at}", (1, 2)) for at in range(len(groups))]
    return Plan(tuple(queries), tuple(passages), tuple(inputs))


Table = dict[str, float | Unscored]


def passed(
    plan: Plan, tables: Sequence[Table], keep: Sequence[int]
) -> tuple[list[PassageScore], list[list[str]]]:
    """The scores, and which texts each stage saw."""
    plans: list[list[str]] = []

    def answer(question: CascadeQuestion) -> Any:
        assert isinstance(question, NeedStageScores)
        assert question.stage == len(plans)
        texts = [passage.text for passage in question.plan.passages]
        plans.append(texts)
        values = [tables[question.stage][text] for text in texts]
        return [value if isinstance(value, Unscored) else Score(value) for value in values]

    return drive(cascade_steps(plan, [ANY] * len(tables), keep), answer), plans


def test_the_best_go_on_and_the_others_keep_their_score() -> None:
    plan = plan_of([["a"], ["b"], ["c"], ["d"]])
    small: Table = {"a": 0.1, "b": 0.9, "c": 0.8, "d": 0.2}
    scores, plans = passed(plan, [small, {"b": 0.3, "c": 0.6}], [2])
    assert plans == [["a", "b", "c", "d"], ["b", "c"]]
    assert scores == [
        Score(0.1, stage=Stage(1, 2)),
        Score(0.3, stage=Stage(2, 2)),
        Score(0.6, stage=Stage(2, 2)),
        Score(0.2, stage=Stage(1, 2)),
    ]


def test_three_stages() -> None:
    plan = plan_of([["a"], ["b"], ["c"]])
    tables: list[Table] = [{"a": 0.1, "b": 0.2, "c": 0.3}, {"b": 0.9, "c": 0.1}, {"b": 0.5}]
    scores, plans = passed(plan, tables, [2, 1])
    assert plans[1:] == [["b", "c"], ["b"]]
    assert [score.stage for score in scores if isinstance(score, Score)] == [
        Stage(1, 3), Stage(3, 3), Stage(2, 3),
    ]  # fmt: skip


def test_all_windows_of_a_document_go_on_and_its_best_one_counts() -> None:
    plan = plan_of([["a1", "a2"], ["b1", "b2"]])
    small: Table = {"a1": 0.1, "a2": 0.7, "b1": 0.6, "b2": 0.6}
    _, plans = passed(plan, [small, {"a1": 0.2, "a2": 0.3}], [1])
    assert plans[1] == ["a1", "a2"]


def test_equal_documents_count_once() -> None:
    plan = plan_of([["a"], ["b"], ["c"]])
    plan = replace(plan, inputs=((0,), (0,), (0,), (1,), (2,)))
    _, plans = passed(plan, [{"a": 0.9, "b": 0.8, "c": 0.1}, {"a": 0.5, "b": 0.4}], [2])
    assert plans[1] == ["a", "b"]


def test_each_query_keeps_as_many() -> None:
    plan = plan_of([["a"], ["b"]], [["c"], ["d"]])
    small: Table = {"a": 0.1, "b": 0.2, "c": 0.9, "d": 0.8}
    _, plans = passed(plan, [small, {"b": 0.5, "c": 0.5}], [1])
    assert plans[1] == ["b", "c"]


def test_ties_go_by_position() -> None:
    plan = plan_of([["a"], ["b"], ["c"]])
    small: Table = dict.fromkeys("abc", 0.5)
    assert passed(plan, [small, {"a": 0.1, "b": 0.1}], [2])[1][1] == ["a", "b"]


def test_what_one_stage_cannot_score() -> None:
    plan = plan_of([["a"], ["b"], ["c"]])
    scores, plans = passed(
        plan, [{"a": FAILURE, "b": 0.2, "c": 0.3}, {"b": 0.9, "c": FAILURE}], [2]
    )
    assert plans[1] == ["b", "c"]
    assert scores == [FAILURE, Score(0.9, stage=Stage(2, 2)), Score(0.3, stage=Stage(1, 2))]
    nothing, plans = passed(plan, [dict.fromkeys("abc", FAILURE), {}], [2])
    assert (nothing, len(plans)) == ([FAILURE] * 3, 1)


def test_a_window_that_only_the_first_stage_could_score_does_not_win() -> None:
    plan = plan_of([["a1", "a2"]])
    scores, _ = passed(plan, [{"a1": 0.9, "a2": 0.1}, {"a1": FAILURE, "a2": 0.2}], [1])
    (result,) = rank(plan, scores, ["a1 a2"], top_n=None, threshold=None)
    assert (result.score, result.window, result.stage) == (0.2, 1, Stage(2, 2))


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20), st.data())
def test_exactly_as_many_as_are_kept_come_first(
    values: list[tuple[float, float]], data: st.DataObject
) -> None:
    keep = data.draw(st.integers(1, len(values) + 2))
    texts = [str(at) for at in range(len(values))]
    plan = plan_of([[text] for text in texts])
    small, big = (dict(zip(texts, column, strict=True)) for column in zip(*values, strict=True))
    scores, plans = passed(plan, [small, big], [keep])
    count = min(keep, len(values))
    assert len(plans[1]) == count
    threshold = data.draw(st.none() | st.floats(0, 1))
    ranked = rank(plan, scores, texts, top_n=None, threshold=threshold)
    order = sorted(range(len(values)), key=lambda at: (-small[texts[at]], at))
    first = sorted(order[:count], key=lambda at: (-big[texts[at]], at))
    kept = [at for at in first if threshold is None or big[texts[at]] >= threshold]
    assert [result.index for result in ranked] == kept + order[count:]


def with_tokens(
    plan: Plan, max_length: int | None, encode: Callable[[str], tuple[int, ...]]
) -> Plan:
    """The plan that a second stage with a tokenizer of its own gets."""
    plans: list[Plan] = []

    def answer(question: CascadeQuestion) -> Any:
        if isinstance(question, NeedStageTokens):
            return [Tokens(encode(text), ()) for text in question.texts]
        plans.append(question.plan)
        return [Score(0.5) for _ in question.plan.passages]

    limits = [ANY, StageLimits(needs_tokens=True, max_length=max_length)]
    drive(cascade_steps(plan, limits, [1]), answer)
    return plans[1]


def test_a_later_stage_gets_its_own_tokens() -> None:
    plan = plan_of([["a"], ["b"]], [["c"]])
    plans = with_tokens(plan, 10, lambda text: (len(text), 7))
    assert [query.ids for query in plans.queries] == [(6, 7), (6, 7)]
    lengths = [len(plan.passages[at].part) for at in (0, 2)]
    assert [passage.ids for passage in plans.passages] == [(length, 7) for length in lengths]
    assert plans.inputs == ((0,), (1,))
    assert with_tokens(plan, None, lambda _: (1,) * 99).tokens(0) == 198


def test_what_is_too_long_to_a_later_stage_is_named() -> None:
    plan = replace(plan_of([["a"], ["b"]]), inputs=((1,), (0,)))
    with pytest.raises(TooLongError, match=r"documents\[1\] has 12 tokens .* takes 11") as caught:
        with_tokens(plan, 11, lambda _: (1,) * 6)
    assert caught.value.index == 1


def test_a_stage_that_answers_nonsense_is_refused() -> None:
    steps = cascade_steps(plan_of([["a"]]), [ANY, ANY], [1])
    with pytest.raises(ScoreError):
        drive(steps, lambda _: [Score(2.0)])
