"""The plot of an evaluation: means before and after, and each query's difference."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Final

from ..wording import counted
from .libraries import library
from .measures import Comparison

_BEFORE, _AFTER, _WORSE = "#9aa5b1", "#2166ac", "#b2182b"
# Fewer bars than this leave room beside them, so that they do not become blocks.
_MIN_GROUPS, _MIN_QUERIES = 3, 6
# As many queries as can be named below their bars; of more, only the ranks are shown.
_MAX_NAMED_QUERIES: Final = 20
_MAX_NAME_LENGTH: Final = 12


def png(comparisons: Sequence[Comparison], title: str) -> bytes:
    """A PNG picture: bars of all measures, and per-query differences of the first.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    target = io.BytesIO()
    comparison_figure(comparisons, title).savefig(target, format="png", dpi=120)
    return target.getvalue()


def comparison_figure(comparisons: Sequence[Comparison], title: str) -> Any:
    """The picture as matplotlib's figure. Raises as `png`."""
    # Without pyplot there is no search for a window system, and no global state.
    figure = library("matplotlib.figure").Figure(figsize=(11, 4.5), layout="constrained")
    bars, queries = figure.subplots(1, 2)
    _draw_means(bars, comparisons)
    _draw_queries(queries, comparisons[0])
    figure.suptitle(_plain_text(title))
    return figure


def _draw_means(draw: Any, comparisons: Sequence[Comparison]) -> None:
    places = range(len(comparisons))
    sides = (
        (-0.2, "before", _BEFORE, [comparison.before for comparison in comparisons]),
        (0.2, "after", _AFTER, [comparison.after for comparison in comparisons]),
    )
    for shift, label, color, values in sides:
        container = draw.bar([at + shift for at in places], values, 0.4, label=label, color=color)
        draw.bar_label(container, fmt="%.4f", fontsize=min(8, 36 / len(values)))
    draw.set_xticks(list(places), [_plain_text(comparison.measure) for comparison in comparisons])
    draw.set_xlim(*_axis_limits(len(comparisons), _MIN_GROUPS))
    draw.margins(y=0.15)
    # Most measures are shares, and comparable only on the same scale; some count documents.
    if all(max(comparison.before, comparison.after) <= 1 for comparison in comparisons):
        draw.set_ylim(0, 1.08)
    draw.set_title("mean over the judged queries")
    draw.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2, frameon=False)


def _draw_queries(draw: Any, first: Comparison) -> None:
    pairs = zip(first.per_query, first.deltas(), strict=True)
    ordered = sorted(pairs, key=lambda pair: pair[1], reverse=True)
    deltas = [delta for _, delta in ordered]
    named = len(deltas) <= _MAX_NAMED_QUERIES
    colors = [_AFTER if delta > 0 else _WORSE for delta in deltas]
    ranks = range(1, len(deltas) + 1)
    draw.bar(ranks, deltas, 0.7 if named else 1.0, color=colors)
    if named:
        slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        names = [_shortened_name(query) for query, _ in ordered]
        draw.set_xticks(list(ranks), names, **(slanted if len(names) > _MIN_QUERIES else {}))
    low, high = _axis_limits(len(deltas), _MIN_QUERIES)
    draw.set_xlim(low + 1, high + 1)
    bound = max([0.1, *(1.1 * abs(delta) for delta in deltas)])
    draw.set_ylim(-bound, bound)
    draw.axhline(0, color="black", linewidth=0.8)
    draw.set_title(f"{_plain_text(first.measure)}, after - before, query by query")
    draw.set_xlabel(f"{counted(len(deltas), 'query', 'queries')}, best difference first")


def _axis_limits(bars: int, least: int) -> tuple[float, float]:
    """Where an axis of bars at 0, 1, ... begins and ends, with room for `least` of them."""
    beside = max(0, least - bars) / 2
    return -0.6 - beside, bars - 0.4 + beside


def _shortened_name(query: str) -> str:
    return _plain_text(
        query if len(query) <= _MAX_NAME_LENGTH else f"{query[: _MAX_NAME_LENGTH - 1]}…"
    )


def _plain_text(text: str) -> str:
    # A dollar sign in a name is no formula.
    return text.replace("$", r"\$")
