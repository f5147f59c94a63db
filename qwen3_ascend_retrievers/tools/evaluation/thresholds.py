"""What a `score_threshold` would keep: precision and recall by threshold, from judgements."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context
from itertools import accumulate, chain
from typing import Final

from ...errors import InvalidInputError
from ...settings import check_threshold
from .measures import check_judged
from .runs import Qrels, Run

# Closer at both ends, where most scores of a good reranker are.
DEFAULT_THRESHOLDS: Final = (
    *(0.0, 0.001, 0.01),
    *(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    *(0.99, 0.999),
)
# A float is told apart from its neighbours by so many digits.
_FLOAT_DIGITS: Final = 17
# A written run separates equal scores by steps of 1e-45 where they are 0.
_SEPARATION: Final = 1e-40


@dataclass(frozen=True, slots=True)
class ThresholdEffect:
    """What is left of a run at one threshold, over all judged queries together.

    Attributes:
        threshold: documents that score below it are left out; from 0 to 1.
        kept: documents of judged queries that stay.
        relevant: of those, documents with a grade above 0.
        unjudged: of those that stay, documents without a grade, which count as not relevant.
        all_relevant: relevant documents of all judged queries, whether the run has them or not.
        empty_queries: judged queries of the run of which no document stays.
    """

    threshold: float
    kept: int
    relevant: int
    unjudged: int
    all_relevant: int
    empty_queries: int

    @property
    def precision(self) -> float | None:
        """The relevant share of what stays, from 0 to 1; None where nothing stays."""
        return self.relevant / self.kept if self.kept else None

    @property
    def recall(self) -> float:
        """The share of all relevant documents that stays, from 0 to 1."""
        return self.relevant / self.all_relevant

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall, from 0 to 1."""
        return 2 * self.relevant / (self.kept + self.all_relevant)


def threshold_effects(
    qrels: Qrels, run: Run, thresholds: Iterable[float] = DEFAULT_THRESHOLDS
) -> list[ThresholdEffect]:
    """What each threshold leaves of a reranked run, in the order of `thresholds`.

    Args:
        qrels: the judgements; queries without any are not counted.
        run: documents with the reranker's scores, from 0 to 1.
        thresholds: from 0 to 1.

    Raises:
        InvalidInputError: a threshold or a score is not from 0 to 1, or no query or document of
            the run is judged.
    """
    graded, all_relevant = _graded_run(qrels, run), _count_relevant(qrels)
    effects = []
    for threshold in thresholds:
        check_threshold(threshold)
        kept = [[grade for score, grade in pairs if score >= threshold] for pairs in graded]
        grades = list(chain.from_iterable(kept))
        effects.append(
            ThresholdEffect(
                threshold,
                kept=len(grades),
                relevant=sum(grade is not None and grade > 0 for grade in grades),
                unjudged=grades.count(None),
                all_relevant=all_relevant,
                empty_queries=kept.count([]),
            )
        )
    return effects


def best_threshold(qrels: Qrels, run: Run) -> ThresholdEffect | None:
    """The effect of the threshold with the highest F1, the highest of several.

    It is the shortest decimal that separates the same documents. It fits the judgements it was
    chosen by better than others: check it on queries that had no part in the choice.

    Args:
        qrels: the judgements, as in `threshold_effects`.
        run: the reranked run, as in `threshold_effects`.

    Returns:
        None where the run has no relevant document.

    Raises:
        InvalidInputError: as in `threshold_effects`.
    """
    pairs = sorted(
        ((score, (grade or 0) > 0) for pairs in _graded_run(qrels, run) for score, grade in pairs),
        reverse=True,
    )
    relevant = list(accumulate(is_relevant for _, is_relevant in pairs))
    if not relevant[-1]:
        return None
    all_relevant = _count_relevant(qrels)
    # A threshold cannot separate equal scores.
    borders = [
        kept
        for kept in range(1, len(pairs) + 1)
        if kept == len(pairs) or pairs[kept][0] < pairs[kept - 1][0]
    ]
    border = max(borders, key=lambda kept: relevant[kept - 1] / (kept + all_relevant))
    below = pairs[border][0] if border < len(pairs) else -1.0
    return threshold_effects(qrels, run, [_shortest_decimal(below, pairs[border - 1][0])])[0]


def _graded_run(qrels: Qrels, run: Run) -> list[list[tuple[float, int | None]]]:
    """Score and grade of each document, for each judged query of the run."""
    check_judged(qrels, run)
    for query, documents in run.items():
        for document, score in documents:
            if not -_SEPARATION <= score <= 1:
                raise InvalidInputError(
                    f"The run's score of document {document} for query {query} is {score:g}, and "
                    "a score_threshold is from 0 to 1. Take a run of a reranker's scores."
                )
    return [
        [(max(score, 0.0), qrels[query].get(document)) for document, score in documents]
        for query, documents in run.items()
        if query in qrels
    ]


def _count_relevant(qrels: Qrels) -> int:
    return sum(grade > 0 for judged in qrels.values() for grade in judged.values())


def _shortest_decimal(below: float, score: float) -> float:
    """The shortest decimal above `below` and not above `score`."""
    for digits in range(1, _FLOAT_DIGITS):
        decimal = Context(prec=digits, rounding=ROUND_FLOOR).create_decimal(repr(score))
        if float(decimal) > below:
            return float(decimal)
    return score
