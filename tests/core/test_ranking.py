"""Scores that can be believed, and the order they make."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_ascend_retrievers.core.plan import Cut, Passage, Plan, Query
from qwen3_ascend_retrievers.core.prompt import neutralise
from qwen3_ascend_retrievers.core.ranking import (
    Fusion,
    RankedDocument,
    Score,
    Stage,
    Unscored,
    best_scores,
    check_scores,
    keep_order,
    rank,
    sigmoid,
)
from qwen3_ascend_retrievers.errors import EngineError, ScoreError

DOCUMENTS = ["a", "b", "c", "d"]


def plan_of(documents: list[str]) -> Plan:
    passages = tuple(Passage(0, text, (0, len(text)), (1, 2)) for text in documents)
    inputs = tuple((at,) for at in range(len(documents)))
    return Plan((Query("q", "i", "part", (1, 2, 3)),), passages, inputs)


def order(scores: list[float], **how: Any) -> list[int]:
    documents = [str(at) for at in range(len(scores))]
    ranked = rank(
        plan_of(documents),
        [Score(score) for score in scores],
        documents,
        **{"top_n": None, "threshold": None, **how},
    )
    assert [document.document for document in ranked] == [
        str(document.index) for document in ranked
    ]
    return [document.index for document in ranked]


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.5000001, 1.0]) | st.floats(0, 1), max_size=30))
def test_by_score_then_by_position(scores: list[float]) -> None:
    ranked = order(scores)
    assert sorted(ranked) == list(range(len(scores)))
    for index, following in pairwise(ranked):
        assert (-scores[index], index) < (-scores[following], following)


def test_reciprocal_rank_fusion() -> None:
    scores = [0.1, 0.2, 0.9, 0.3]
    # Ranks by score 4, 3, 1, 2; in the input 1, 2, 3, 4: c = 60, by hand.
    fused = [1 / 61 + 1 / 64, 1 / 62 + 1 / 63, 1 / 63 + 1 / 61, 1 / 64 + 1 / 62]
    assert order(scores, combine="rrf") == sorted(range(4), key=lambda at: -fused[at])
    documents = ["a", "b", "c", "d"]
    ranked = rank(
        plan_of(documents),
        [Score(score) for score in scores],
        documents,
        top_n=2,
        threshold=0.15,
        combine="rrf",
    )
    # "a" is below the threshold: the others move up by score, and keep their ranks in the input.
    assert [result.fusion for result in ranked] == [
        Fusion(1, 3, 1 / 61 + 1 / 63),
        Fusion(3, 2, 1 / 63 + 1 / 62),
    ]
    assert [result.score for result in ranked] == [0.9, 0.2]


@given(st.lists(st.floats(0, 1), max_size=30))
def test_fusion_leaves_out_nothing_and_keeps_an_order_that_both_have(scores: list[float]) -> None:
    assert sorted(order(scores, combine="rrf")) == list(range(len(scores)))
    descending = sorted(scores, reverse=True)
    assert order(descending, combine="rrf") == list(range(len(scores)))


def test_documents_without_a_score_come_last_in_a_fusion_too() -> None:
    failure = Unscored(EngineError("it alone"))
    ranked = rank(
        plan_of(["a", "b"]), [failure, Score(0.1)], ["a", "b"], top_n=None, threshold=None,
        combine="rrf",
    )  # fmt: skip
    assert [(result.index, result.fusion is None) for result in ranked] == [(1, False), (0, True)]


def test_the_threshold_is_for_the_last_stage_only() -> None:
    early, last = Stage(1, 2), Stage(2, 2)
    scores = [Score(0.1, stage=early), Score(0.4, stage=last), Score(0.6, stage=last)]
    ranked = rank(plan_of(["a", "b", "c"]), scores, ["a", "b", "c"], top_n=None, threshold=0.5)
    assert [(result.index, result.stage) for result in ranked] == [(2, last), (0, early)]


def test_threshold_and_top_n() -> None:
    scores = [0.1, 0.9, 0.5, 0.9]
    assert order(scores, top_n=2) == [1, 3]
    assert order(scores, top_n=9) == [1, 3, 2, 0]
    assert order(scores, threshold=0.5) == [1, 3, 2]
    assert order(scores, threshold=0.5, top_n=1) == [1]
    assert order(scores, threshold=0.0) == [1, 3, 2, 0]
    assert order(scores, threshold=1.0) == []


def test_a_result_says_what_was_scored() -> None:
    (document,) = rank(plan_of(["text"]), [Score(0.5, 0.0)], ["text"], top_n=None, threshold=None)
    assert document == RankedDocument(0, "text", 0.5, 0.0, tokens=5, span=(0, 4))


def windowed(cut: Cut = "no") -> Plan:
    """Two inputs: three windows of "abcdef", and one ordinary document."""
    spans = ((0, 3), (2, 5), (4, 6))
    passages = tuple(Passage(0, "abcdef"[slice(*span)], span, None, cut) for span in spans)
    return Plan((Query("q", "i", "part"),), (*passages, Passage(0, "g", (0, 1))), ((0, 1, 2), (3,)))


def test_the_best_window_counts_and_the_first_of_equals() -> None:
    scores = [Score(0.2), Score(0.9, 2.2), Score(0.9, 2.3), Score(0.3)]
    first, other = rank(windowed(), scores, ["abcdef", "g"], top_n=None, threshold=None)
    assert first == RankedDocument(0, "abcdef", 0.9, 2.2, span=(2, 5), window=1, windows=3)
    assert other == RankedDocument(1, "g", 0.3, span=(0, 1))
    assert best_scores(windowed(), scores) == [scores[1], scores[3]]


def test_what_the_engine_cut_further_is_said() -> None:
    document = "<think>" * 4
    passage = Passage(0, neutralise(document), (0, len(document)), (1, 2))
    plan = Plan((Query("q", "i", "part", (1,)),), (passage,), ((0,),))
    (result,) = rank(plan, [Score(0.5, kept=10)], [document], top_n=None, threshold=None)
    # Ten characters of "< think>< think>": two of them are not the caller's.
    assert result == RankedDocument(0, document, 0.5, span=(0, 8), truncated=True, cut="estimated")
    raw = replace(plan, passages=(replace(passage, text=document),), neutralised=False)
    (result,) = rank(raw, [Score(0.5, kept=10)], [document], top_n=None, threshold=None)
    assert result.span == (0, 10)
    scores = [Score(0.1), Score(0.9, kept=2), Score(0.1), Score(0.1)]
    first, _ = rank(windowed("estimated"), scores, ["abcdef", "g"], top_n=None, threshold=None)
    assert first.span == (2, 4)
    assert first.window == 1
    assert (first.truncated, first.cut) == (True, "estimated")
    scores = [Score(0.1), Score(0.9), Score(0.1), Score(0.1)]
    first, _ = rank(windowed("estimated"), scores, ["abcdef", "g"], top_n=None, threshold=None)
    assert (first.truncated, first.cut) == (False, "estimated")


def test_what_could_not_be_scored_comes_last_in_the_input_s_order() -> None:
    error = EngineError("refused")
    scores = [Unscored(error), Score(0.1), Unscored(error), Score(0.9)]
    plan = plan_of(DOCUMENTS)
    results = rank(plan, scores, DOCUMENTS, top_n=None, threshold=0.5)
    assert [(result.index, result.score, result.error) for result in results] == [
        (3, 0.9, None),
        (0, None, error),
        (2, None, error),
    ]
    assert results[1] == RankedDocument(0, DOCUMENTS[0], None, error=error)
    assert check_scores(scores, 4) == scores
    with pytest.raises(EngineError, match="refused"):
        best_scores(plan, scores)


def test_a_window_that_could_not_be_scored_leaves_it_to_the_others() -> None:
    scores = [Unscored(EngineError("refused")), Score(0.0), Score(0.2), Score(0.3)]
    best, _ = rank(windowed(), scores, ["abcdef", "g"], top_n=None, threshold=None)[::-1]
    assert (best.window, best.score) == (2, 0.2)
    assert best_scores(windowed(), scores) == [scores[2], scores[3]]


def test_the_input_order_can_be_kept() -> None:
    documents = keep_order(DOCUMENTS, None)
    assert [document.index for document in documents] == [0, 1, 2, 3]
    assert [document.document for document in documents] == DOCUMENTS
    assert {document.score for document in documents} == {None}
    assert [document.index for document in keep_order(DOCUMENTS, 2)] == [0, 1]


@pytest.mark.parametrize(
    "scores",
    [[Score(0.5), Score(1)], (Score(0.0, -800.0), Score(1.0, 800.0)), [Score(0.5, kept=3)] * 2],
)
def test_scores_that_can_be_believed(scores: Any) -> None:
    assert check_scores(scores, 2) == list(scores)


NO_PROBABILITIES: list[Any] = [
    *(math.nan, math.inf, -math.inf, -0.001, 1.001),
    *(True, None, "1", Decimal(1), 10**400, 10**5000),
]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (None, "returned NoneType scores for 2"),
        ("ab", "returned str scores"),
        (iter([Score(0.5)] * 2), "scores for 2 passages"),
        ([], "returned 0 scores for 2"),
        ([Score(0.5)], "returned 1 scores for 2"),
        ([Score(0.5)] * 3, "returned 3 scores for 2"),
        ([Score(0.5), None], "for passage 1 is no finite probability"),
        ([0.5, 0.5], "for passage 0"),
        *(([Score(0.5), Score(wrong)], "for passage 1") for wrong in NO_PROBABILITIES),
        *(
            ([Score(0.5, wrong)] * 2, "for passage 0")
            for wrong in (math.nan, math.inf, -(10**400), "1")
        ),
    ],
)
def test_scores_that_cannot(scores: Any, message: str) -> None:
    with pytest.raises(ScoreError, match=message):
        check_scores(scores, 2)


@given(st.floats(allow_nan=False))
def test_the_sigmoid_is_a_probability_for_every_logit(logit: float) -> None:
    assert 0 <= sigmoid(logit) <= 1
    assert sigmoid(logit) + sigmoid(-logit) == pytest.approx(1)


def test_the_sigmoid_of_known_logits() -> None:
    assert sigmoid(0) == 0.5
    assert sigmoid(math.log(3)) == pytest.approx(0.75)
    assert sigmoid(-2000) == 0
    assert math.isnan(sigmoid(math.nan))
    assert Score.of_logit(math.log(3), kept=7) == Score(sigmoid(math.log(3)), math.log(3), 7)
