"""The slope chart: each document a line from its rank before to its rank after, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

# More lines than this cannot be told apart.
MOST: Final = 40

_ROW, _TOP, _LEFT, _RIGHT, _WIDTH = 22, 40, 230, 430, 660
_LABEL: Final = 30


@dataclass(frozen=True, slots=True)
class Line:
    """A document in the chart: its label and its ranks, from 1."""

    label: str
    before: int
    after: int

    @property
    def way(self) -> str:
        """ "up", "down" or "same", which is also its style."""
        if self.after == self.before:
            return "same"
        return "up" if self.after < self.before else "down"


def slope_chart(lines: Sequence[Line], heading: str) -> str:
    """An SVG element; colours come from the page's style. At most MOST documents, best first."""
    shown = sorted(lines, key=lambda one: one.after)[:MOST]
    # Ranks on the left are those among the documents shown, so that both sides are as long.
    places = {one: at for at, one in enumerate(sorted(shown, key=lambda one: one.before))}
    height = _TOP + _ROW * len(shown) + 10
    drawn = [
        f'<svg class="slope" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{escape(heading)}">',
        f'<text class="head" x="{_LEFT}" y="18" text-anchor="end">before</text>',
        f'<text class="head" x="{_RIGHT}" y="18">after</text>',
    ]
    for at, one in enumerate(shown):
        left, right = _height(places[one]), _height(at)
        label = escape(_short(one.label))
        drawn += [
            f'<g class="{one.way}"><line x1="{_LEFT + 8}" y1="{left}" x2="{_RIGHT - 8}" '
            f'y2="{right}"/><circle cx="{_LEFT + 8}" cy="{left}" r="3"/>'
            f'<circle cx="{_RIGHT - 8}" cy="{right}" r="3"/>'
            f'<text x="{_LEFT}" y="{left + 4}" text-anchor="end">{label} · {one.before}</text>'
            f'<text x="{_RIGHT}" y="{right + 4}">{one.after} · {label}</text></g>'
        ]
    return "\n".join([*drawn, "</svg>"])


def _height(at: int) -> int:
    return _TOP + _ROW * at


def _short(label: str) -> str:
    # The end of a path says more than its beginning.
    return label if len(label) <= _LABEL else "…" + label[1 - _LABEL :]
