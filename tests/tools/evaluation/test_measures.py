"""Measures are ir-measures' own, and the tests of significance what their definitions say."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import ir_measures
import pytest
import scipy.stats

from qwen3_ascend_retrievers.errors import InvalidInputError
from qwen3_ascend_retrievers.tools.evaluation.first_stage import bm25_run
from qwen3_ascend_retrievers.tools.evaluation.measures import (
    DEFAULT_MEASURES,
    Comparison,
    compare,
    paired_t_test,
    parse_measures,
    randomization_test,
)
from qwen3_ascend_retrievers.tools.evaluation.plot import comparison_figure, png
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


def evaluated(differences: list[float], before: float = 0.3) -> Comparison:
    """A measure of queries that change by these differences."""
    values = {f"q{at}": (before, before + change) for at, change in enumerate(differences)}
    mean = sum(differences) / len(differences)
    return Comparison("RR@10", before, before + mean, values, 0.5, 0.5)


def drawn_axes(comparisons: list[Comparison]) -> tuple[Any, Any]:
    figure = comparison_figure(comparisons, "a model")
    figure.draw_without_rendering()
    return tuple(figure.axes)


@pytest.mark.parametrize("before", [0.05, 0.95])
def test_the_plot_s_legend_covers_no_bar_and_shares_have_one_scale(before: float) -> None:
    comparisons = [evaluated([0.02, 0.04], before)] * 3
    means, _ = drawn_axes(comparisons)
    legend = means.get_legend().get_window_extent()
    assert not any(bar.get_window_extent().overlaps(legend) for bar in means.patches)
    assert not any(text.get_window_extent().overlaps(legend) for text in means.get_xticklabels())
    assert means.get_ylim() == (0, 1.08)
    counts, _ = drawn_axes([*comparisons, evaluated([0.1], 40.0)])
    assert counts.get_ylim()[1] > 40


@pytest.mark.parametrize("count", [1, 3, 20])
def test_few_queries_are_named_bars_around_zero(count: int) -> None:
    _, queries = drawn_axes([evaluated([-0.2, 0.0, *[0.1] * 18][:count])])
    bars = [bar.get_window_extent() for bar in queries.patches]
    assert all(bar.width < queries.bbox.width / 6 for bar in bars)
    assert not any(first.overlaps(second) for first, second in itertools.pairwise(bars))
    low, high = queries.get_ylim()
    assert low == -high < -0.2
    names = [label.get_text() for label in queries.get_xticklabels()]
    assert names == [f"q{at}" for at in (*range(2, 20), 1, 0) if at < count]
    noun = "1 query" if count == 1 else f"{count} queries"
    assert queries.get_xlabel() == f"{noun}, best difference first"


def test_many_queries_are_ranks_and_equal_orders_have_an_axis_too() -> None:
    _, queries = drawn_axes([evaluated([0.001 * at for at in range(-60, 60)])])
    labels = [label.get_text() for label in queries.get_xticklabels()]
    assert "100" in labels
    assert not any(label.startswith("q") for label in labels)
    _, unchanged = drawn_axes([evaluated([0.0, 0.0])])
    assert unchanged.get_ylim() == (-0.1, 0.1)


def test_reciprocal_rank_goes_by_ir_measures_name() -> None:
    assert [str(measure) for measure in parse_measures(DEFAULT_MEASURES)] == list(DEFAULT_MEASURES)
    assert [str(measure) for measure in parse_measures(["MRR@10"])] == ["RR@10"]


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
