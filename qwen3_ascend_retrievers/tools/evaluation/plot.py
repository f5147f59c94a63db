"""The plot of an evaluation: means before and after, and each query's difference."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from .libraries import library
from .measures import Comparison

_BEFORE, _AFTER, _WORSE = "#9aa5b1", "#2166ac", "#b2182b"


def png(comparisons: Sequence[Comparison], title: str) -> bytes:
    """A PNG picture: bars of all measures, and per-query differences of the first.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    # Without pyplot there is no search for a window system, and no global state.
    figure = library("matplotlib.figure").Figure(figsize=(11, 4.5), layout="constrained")
    bars, queries = figure.subplots(1, 2)
    _draw_means(bars, comparisons)
    _draw_queries(queries, comparisons[0])
    # A dollar sign in a model's name is no formula.
    figure.suptitle(title.replace("$", r"\$"))
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=120)
    return target.getvalue()


def _draw_means(draw: Any, comparisons: Sequence[Comparison]) -> None:
    places = range(len(comparisons))
    sides = (
        (-0.2, "before", _BEFORE, [comparison.before for comparison in comparisons]),
        (0.2, "after", _AFTER, [comparison.after for comparison in comparisons]),
    )
    for shift, label, color, values in sides:
        container = draw.bar([at + shift for at in places], values, 0.4, label=label, color=color)
        draw.bar_label(container, fmt="%.3f", fontsize=8)
    draw.set_xticks(list(places), [comparison.measure for comparison in comparisons])
    draw.set_title("mean over the judged queries")
    draw.margins(y=0.15)
    draw.legend()


def _draw_queries(draw: Any, first: Comparison) -> None:
    deltas = sorted(first.deltas(), reverse=True)
    colors = [_AFTER if delta > 0 else _WORSE for delta in deltas]
    draw.bar(range(len(deltas)), deltas, 1.0, color=colors)
    draw.axhline(0, color="black", linewidth=0.8)
    draw.set_title(f"{first.measure}, after - before, query by query")
    draw.set_xlabel(f"{len(deltas)} queries, best difference first")
