"""Measures of a run before and after, by ir-measures, and the significance of the difference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ...errors import InvalidInputError
from .libraries import library
from .runs import Qrels, Run, strictly_decreasing

DEFAULT_MEASURES: Final = ("nDCG@10", "RR@10", "R@10")
# Enough for p-values of 0.001 (Smucker, Allan and Carterette, CIKM 2007, took 100,000).
SAMPLES: Final = 100_000
# Sign flips at a time: 225 queries then take 18 MB.
_SAMPLES_AT_A_TIME: Final = 10_000


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measure before and after.

    Attributes:
        measure: its name, as ir-measures writes it.
        before: mean over the judged queries of the run that came in.
        after: the same of the reranked run.
        per_query: for each judged query both values.
        p_randomization: two-sided p-value of the paired randomization test.
        p_t: two-sided p-value of the paired t-test.
    """

    measure: str
    before: float
    after: float
    per_query: dict[str, tuple[float, float]]
    p_randomization: float
    p_t: float

    def deltas(self) -> list[float]:
        """after - before, for each query."""
        return [after - before for before, after in self.per_query.values()]


def parse_measures(names: Iterable[str]) -> list[Any]:
    """ir-measures' measures of these names, such as nDCG@10, RR@10, R@50 or AP(rel=2).

    Raises:
        InvalidInputError: a name that ir-measures does not know, a cutoff below 1, or a measure
            that cannot be computed here.
        MissingDependencyError: ir-measures is not installed.
    """
    ir_measures = library("ir_measures")
    measures = []
    for name in names:
        try:
            measure = ir_measures.parse_measure(name)
        # ir-measures passes on its parser's exceptions: ValueError, NameError, SyntaxError, ...
        except Exception as error:
            raise InvalidInputError(
                f"ir-measures knows no measure {name!r}. Use names such as nDCG@10, RR@10, R@50, "
                "AP; all are on https://ir-measur.es."
            ) from error
        # pytrec_eval ends the whole process at a cutoff of 0.
        cutoff = measure.params.get("cutoff", 1)
        if not isinstance(cutoff, int | float) or cutoff < 1:
            raise InvalidInputError(f"The cutoff of {name!r} must be at least 1.")
        measures.append(measure)
    # Raises for measures that cannot be computed, before hours of scoring.
    _calculate(measures, {"1": {"a": 1, "b": 0}}, {"1": [("a", 2.0), ("b", 1.0)]})
    return measures


def check_judged(qrels: Qrels, run: Run) -> None:
    """Raise InvalidInputError for judgements by which every order of `run` scores the same.

    No query of the run is judged, or none of its documents, or nothing is relevant at all.
    """
    if not any(grade > 0 for grades in qrels.values() for grade in grades.values()):
        raise InvalidInputError(
            "The qrels hold no grade above 0, so that nothing is relevant. Are they the right ones?"
        )
    both = qrels.keys() & run.keys()
    if not both:
        raise InvalidInputError(
            "No query of the run has judgements. Do the ids in run and qrels belong together?"
        )
    if not any(document in qrels[query] for query in both for document, _ in run[query]):
        raise InvalidInputError(
            "None of the run's documents is judged, so that no order is better than another. Do "
            "the ids in run and qrels belong together? Else take more documents."
        )


def compare(measures: Sequence[Any], qrels: Qrels, before: Run, after: Run) -> list[Comparison]:
    """Both runs by every measure.

    Means are over all judged queries; one that a run lacks counts 0, as in trec_eval.

    Raises:
        InvalidInputError: no query of the run is judged, or a measure cannot be computed.
    """
    check_judged(qrels, before)
    old, new = _calculate(measures, qrels, before), _calculate(measures, qrels, after)
    return [_comparison(str(measure), old[str(measure)], new[str(measure)]) for measure in measures]


def _comparison(name: str, old: Mapping[str, float], new: Mapping[str, float]) -> Comparison:
    pairs = {query: (old[query], new.get(query, 0.0)) for query in old}
    deltas = [after - before for before, after in pairs.values()]
    return Comparison(
        name,
        sum(old.values()) / len(old),
        sum(new.values()) / len(new),
        pairs,
        randomization_test(deltas),
        paired_t_test(deltas),
    )


def _calculate(measures: Sequence[Any], qrels: Qrels, run: Run) -> dict[str, dict[str, float]]:
    ir_measures = library("ir_measures")
    judged = [
        ir_measures.Qrel(query, document, grade)
        for query, grades in qrels.items()
        for document, grade in grades.items()
    ]
    scored = [
        ir_measures.ScoredDoc(query, document, score)
        for query, documents in run.items()
        for (document, _), score in zip(
            documents, strictly_decreasing([score for _, score in documents]), strict=True
        )
    ]
    values: dict[str, dict[str, float]] = {
        str(measure): dict.fromkeys(qrels, 0.0) for measure in measures
    }
    try:
        for metric in ir_measures.iter_calc(measures, judged, scored):
            values[str(metric.measure)][metric.query_id] = float(metric.value)
    # A measure's provider may be missing, or reject its parameters with any exception.
    except Exception as error:
        raise InvalidInputError(f"ir-measures cannot compute these measures: {error}") from error
    return values


def randomization_test(deltas: Sequence[float], samples: int = SAMPLES) -> float:
    """Two-sided p-value: how often random signs make a mean at least as far from 0.

    The seed is fixed, so that a repeated evaluation has the same result.
    """
    numpy = library("numpy")
    differences = numpy.asarray(deltas)
    # Sums of the same numbers in another order differ by rounding.
    bound = abs(differences.sum()) - 1e-9
    generator = numpy.random.default_rng(0)
    extreme = 0
    for start in range(0, samples, _SAMPLES_AT_A_TIME):
        shape = (min(_SAMPLES_AT_A_TIME, samples - start), len(differences))
        signs = generator.integers(0, 2, shape, dtype="int8") * 2 - 1
        extreme += int((abs(signs @ differences) >= bound).sum())
    return (extreme + 1) / (samples + 1)


def paired_t_test(deltas: Sequence[float]) -> float:
    """Two-sided p-value of the paired t-test; 1 where nothing differs or there is one query."""
    if len(deltas) < 2 or max(deltas) == min(deltas):
        return 1.0 if not any(deltas) or len(deltas) < 2 else 0.0
    return float(library("scipy.stats").ttest_1samp(deltas, 0.0).pvalue)
