"""Measures are ir-measures' own, and the tests of significance what their definitions say."""

from __future__ import annotations

import itertools
from pathlib import Path

import ir_measures
import pytest
import scipy.stats

from qwen3_ascend_retrievers.errors import InvalidInputError
from qwen3_ascend_retrievers.tools.evaluation.first_stage import bm25_run
from qwen3_ascend_retrievers.tools.evaluation.measures import (
    compare,
    paired_t_test,
    parse_measures,
    randomization_test,
)
from qwen3_ascend_retrievers.tools.evaluation.plot import png
from qwen3_ascend_retrievers.tools.evaluation.runs import write_run

QRELS = {"1": {"a": 3, "b": 1}, "2": {"c": 1}, "unrun": {"a": 1}}
BEFORE = {"1": [("x", 3.0), ("b", 2.0), ("a", 1.0)], "2": [("c", 1.0), ("d", 0.5)]}
AFTER = {"1": [("a", 0.9), ("b", 0.5), ("x", 0.1)], "2": [("d", 0.5), ("c", 0.5)]}
DELTAS = [0.3, 0.1, -0.2, 0.4, 0.25, 0.0, 0.15, -0.05]


def test_values_are_those_of_ir_measures_on_the_written_run(tmp_path: Path) -> None:
    measures = parse_measures(["nDCG@10", "MRR@10", "R@1", "AP(rel=2)"])
    write_run(tmp_path / "after", AFTER, "t")
    expected = ir_measures.calc_aggregate(
        measures,
        [
            ir_measures.Qrel(q, d, grade)
            for q, grades in QRELS.items()
            for d, grade in grades.items()
        ],
        ir_measures.read_trec_run(str(tmp_path / "after")),
    )
    comparisons = compare(measures, QRELS, BEFORE, AFTER)
    assert {comparison.measure: comparison.after for comparison in comparisons} == pytest.approx(
        {str(measure): value for measure, value in expected.items()}
    )
    mrr = comparisons[1]
    assert mrr.per_query == {"1": (0.5, 1.0), "2": (1.0, 0.5), "unrun": (0.0, 0.0)}
    assert (mrr.before, mrr.after) == pytest.approx((0.5, 0.5))
    assert mrr.p_randomization == 1.0


def test_the_randomization_test_equals_the_count_of_all_signs() -> None:
    bound = abs(sum(DELTAS)) - 1e-9
    signs = list(itertools.product((-1, 1), repeat=len(DELTAS)))
    sums = [sum(s * d for s, d in zip(combination, DELTAS, strict=True)) for combination in signs]
    exact = sum(abs(total) >= bound for total in sums) / len(signs)
    assert randomization_test(DELTAS) == pytest.approx(exact, abs=0.005)
    assert randomization_test(DELTAS) == randomization_test(DELTAS)
    assert randomization_test([0.0, 0.0]) == 1.0


def test_the_t_test_is_scipy_s_paired_one() -> None:
    expected = scipy.stats.ttest_rel(DELTAS, [0.0] * len(DELTAS)).pvalue
    assert paired_t_test(DELTAS) == pytest.approx(expected)
    assert [paired_t_test([]), paired_t_test([0.3]), paired_t_test([0.0, 0.0])] == [1.0] * 3
    assert paired_t_test([0.2, 0.2]) == 0.0


def test_unknown_measures_and_ids_that_do_not_meet() -> None:
    with pytest.raises(InvalidInputError, match="no measure 'nDGC@10'"):
        parse_measures(["nDGC@10"])
    for name in ("nDCG@0", "P(judged_only=True)@0", "RR@0", "nDCG(cutoff='ten')"):
        with pytest.raises(InvalidInputError, match=r"The cutoff of .* must be at least 1"):
            parse_measures(["P@1", name])
    with pytest.raises(
        InvalidInputError, match=r"cannot compute these measures: .*relevance_level"
    ):
        parse_measures(["AP(rel=0)"])
    with pytest.raises(InvalidInputError, match="No query of the run has judgements"):
        compare(parse_measures(["P@1"]), {"9": {"a": 1}}, BEFORE, AFTER)
    with pytest.raises(InvalidInputError, match="no grade above 0"):
        compare(parse_measures(["P@1"]), {"1": {"a": 0, "b": -1}}, BEFORE, AFTER)
    with pytest.raises(InvalidInputError, match="None of the run's documents is judged"):
        compare(parse_measures(["P@1"]), {"1": {"doc-a": 1}, "9": {"x": 1}}, BEFORE, AFTER)


def test_the_plot_is_a_png() -> None:
    drawn = png(compare(parse_measures(["nDCG@10", "P@1"]), QRELS, BEFORE, AFTER), "a $model")
    assert drawn.startswith(b"\x89PNG\r\n")
    width, height = (int.from_bytes(drawn[at : at + 4], "big") for at in (16, 20))
    assert (width, height) == (1320, 540)


def test_bm25_finds_rare_words_first() -> None:
    corpus = {"a": "the wing in a slipstream", "b": "heat in a slab", "c": "wing and heat"}
    run = bm25_run(corpus, {"q": "slab heat"}, depth=2)
    assert [name for name, _ in run["q"]] == ["b", "c"]
    assert len(bm25_run(corpus, {"q": "wing"}, depth=50)["q"]) == 3
    blank = bm25_run(corpus | {"d": ""}, {"q": "heat"}, depth=50)["q"]
    assert {name: score > 0 for name, score in blank} == {
        "b": True,
        "c": True,
        "a": False,
        "d": False,
    }


@pytest.mark.parametrize(
    ("texts", "queries"), [(("", "the of"), ("x",)), ((), ("x",)), (("x",), ())]
)
def test_bm25_refuses_where_there_is_no_word(
    texts: tuple[str, ...], queries: tuple[str, ...]
) -> None:
    corpus = {str(at): text for at, text in enumerate(texts)}
    with pytest.raises(InvalidInputError, match="BM25 has nothing to go by"):
        bm25_run(corpus, {str(at): text for at, text in enumerate(queries)}, depth=5)
