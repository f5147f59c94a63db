"""Precision and recall by threshold: by hand, at ties, and as a rerank with the threshold."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.errors import InvalidInputError
from qwen3_ascend_retrievers.testing import FakeEngine
from qwen3_ascend_retrievers.tools.evaluation.runs import Qrels, Run, read_run, write_run
from qwen3_ascend_retrievers.tools.evaluation.thresholds import (
    DEFAULT_THRESHOLDS,
    ThresholdEffect,
    best_threshold,
    threshold_effects,
)

# c is relevant and not in the run, and query 3 not in it at all; query 4 is not judged.
QRELS = {"1": {"a": 2, "b": 0, "c": 1}, "2": {"d": 1}, "3": {"a": 1}}
RUN = {
    "1": [("a", 0.9), ("x", 0.6), ("b", 0.2)],
    "2": [("d", 0.6), ("a", 0.05)],
    "4": [("a", 1.0)],
}


def test_counts_are_those_by_hand() -> None:
    everything, middle, strict, nothing = threshold_effects(QRELS, RUN, [0.0, 0.6, 0.61, 1.0])
    assert everything == ThresholdEffect(
        0.0, kept=5, relevant=2, unjudged=2, all_relevant=4, empty_queries=0
    )
    # As in a rerank, what scores exactly the threshold stays.
    assert middle == ThresholdEffect(0.6, 3, 2, 1, 4, 0)
    assert (middle.precision, middle.recall) == (2 / 3, 0.5)
    assert middle.f1 == pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5))
    assert strict == ThresholdEffect(0.61, 1, 1, 0, 4, 1)
    assert (strict.precision, strict.recall, strict.f1) == (1.0, 0.25, 0.4)
    assert nothing == ThresholdEffect(1.0, 0, 0, 0, 4, 2)
    assert (nothing.precision, nothing.recall, nothing.f1) == (None, 0.0, 0.0)


def test_the_default_thresholds_go_up_from_everything() -> None:
    assert DEFAULT_THRESHOLDS[0] == 0
    assert list(DEFAULT_THRESHOLDS) == sorted(set(DEFAULT_THRESHOLDS))
    effects = threshold_effects(QRELS, RUN)
    assert tuple(effect.threshold for effect in effects) == DEFAULT_THRESHOLDS


def test_the_threshold_keeps_what_a_rerank_with_it_returns() -> None:
    documents = ["a dog", "a cat", "two cats", "cat food", "a cat and a dog"]
    ranking = Reranker(FakeEngine()).rank("cat food", documents)
    run = {"q": [(result.document, result.score or 0.0) for result in ranking.results]}
    qrels = {"q": {"cat food": 1, "a cat": 1, "a dog": 0}}
    best = best_threshold(qrels, run)
    assert best is not None
    thresholds = [best.threshold, *(score for _, score in run["q"])]
    for effect in threshold_effects(qrels, run, thresholds):
        cut = Reranker(FakeEngine(), score_threshold=effect.threshold)
        assert effect.kept == len(cut.rank("cat food", documents).results)


@pytest.mark.parametrize(
    ("scores", "relevant", "threshold"),
    [
        # The shortest decimal between the last that stays and the first that does not.
        ([0.98765, 0.61234, 0.3], [1, 1, 0], 0.6),
        ([0.98765, 0.61234, 0.6], [1, 1, 0], 0.61),
        ([3.2e-7, 1.1e-7], [1, 0], 3e-7),
        ([0.30000000000000004, 0.3], [1, 0], 0.30000000000000004),
        # Equal scores stay or go together.
        ([0.9, 0.5, 0.5], [0, 1, 0], 0.5),
        # The highest of two with the same F1: it keeps 1 of 1, the other 2 of 4.
        ([0.9, 0.7, 0.5, 0.3], [1, 0, 0, 1], 0.9),
        ([0.7, 0.5], [1, 0], 0.7),
        ([1.0, 0.0], [1, 1], 0.0),
    ],
)
def test_the_best_threshold(scores: list[float], relevant: list[int], threshold: float) -> None:
    run = {"q": [(str(at), score) for at, score in enumerate(scores)]}
    best = best_threshold({"q": {str(at): grade for at, grade in enumerate(relevant)}}, run)
    assert best is not None
    assert best.threshold == threshold


def test_no_relevant_document_has_no_best_threshold() -> None:
    assert best_threshold({"1": {"b": 0, "c": 1}}, RUN) is None


GRADES = st.dictionaries(st.sampled_from("abcdef"), st.integers(-1, 2), min_size=1)
SCORES = st.dictionaries(
    st.sampled_from("abcdef"), st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]) | st.floats(0, 1)
)


@given(
    st.dictionaries(st.sampled_from("12"), GRADES), st.dictionaries(st.sampled_from("12"), SCORES)
)
def test_no_threshold_is_better_than_the_best(
    qrels: Qrels, scores: dict[str, dict[str, float]]
) -> None:
    run: Run = {query: list(documents.items()) for query, documents in scores.items()}
    every_score = [score for documents in scores.values() for score in documents.values()]
    try:
        effects = threshold_effects(qrels, run, [*every_score, *DEFAULT_THRESHOLDS])
    except InvalidInputError:
        with pytest.raises(InvalidInputError):
            best_threshold(qrels, run)
        return
    best = best_threshold(qrels, run)
    assert (0.0 if best is None else best.f1) == max(effect.f1 for effect in effects)


def test_a_written_run_has_the_same_effects(tmp_path: Path) -> None:
    run = {"1": [("a", 0.5), ("b", 0.0), ("c", 0.0)]}
    write_run(tmp_path / "run", run, "t")
    written = read_run(tmp_path / "run")
    assert written["1"][2][1] < 0
    assert threshold_effects(QRELS, written) == threshold_effects(QRELS, run)


def test_what_has_no_effect_to_speak_of_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"score_threshold must be a probability"):
        threshold_effects(QRELS, RUN, [1.5])
    bm25 = {"1": [("a", 12.5)]}
    for function in (threshold_effects, best_threshold):
        with pytest.raises(InvalidInputError, match=r"score of document a for query 1 is 12\.5"):
            function(QRELS, bm25)
        with pytest.raises(InvalidInputError, match="No query of the run has judgements"):
            function({"9": {"a": 1}}, RUN)
