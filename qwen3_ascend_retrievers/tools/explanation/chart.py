"""The slope chart: each document a line from its rank before to its rank after, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final
from unicodedata import east_asian_width

# More lines than this cannot be distinguished.
MAX_LINES: Final = 40

# Narrow enough for a phone: at 420 pixels its text is still 10 pixels high.
_ROW_HEIGHT, _TOP, _LEFT_X, _RIGHT_X, _WIDTH = 22, 40, 192, 328, 520
# In narrow characters; with a rank of three digits this fills the space beside the lines.
_MAX_LABEL_WIDTH: Final = 18


@dataclass(frozen=True, slots=True)
class Line:
    """A document in the chart: its label and its ranks, from 1."""

    label: str
    before: int
    after: int

    @property
    def direction(self) -> str:
        """ "up", "down" or "same", which is also its style."""
        if self.after == self.before:
            return "same"
        return "up" if self.after < self.before else "down"


def slope_chart(lines: Sequence[Line], heading: str) -> str:
    """An SVG element, coloured by the page's style. At most MAX_LINES documents, best first."""
    charted = sorted(lines, key=lambda line: line.after)[:MAX_LINES]
    # Ranks on the left are among the charted documents, so that both sides have the same length.
    rows_before = {
        line: at for at, line in enumerate(sorted(charted, key=lambda line: line.before))
    }
    height = _TOP + _ROW_HEIGHT * len(charted) + 10
    elements = [
        f'<svg class="slope" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{escape(heading)}">',
        f'<text class="head" x="{_LEFT_X}" y="18" text-anchor="end">before</text>',
        f'<text class="head" x="{_RIGHT_X}" y="18">after</text>',
    ]
    for at, line in enumerate(charted):
        left, right = _y(rows_before[line]), _y(at)
        label = escape(_shortened_label(line.label))
        elements += [
            f'<g class="{line.direction}"><line x1="{_LEFT_X + 8}" y1="{left}" x2="{_RIGHT_X - 8}" '
            f'y2="{right}"/><circle cx="{_LEFT_X + 8}" cy="{left}" r="3"/>'
            f'<circle cx="{_RIGHT_X - 8}" cy="{right}" r="3"/>'
            f'<text x="{_LEFT_X}" y="{left + 4}" text-anchor="end">{label} · {line.before}</text>'
            f'<text x="{_RIGHT_X}" y="{right + 4}">{line.after} · {label}</text></g>'
        ]
    return "\n".join([*elements, "</svg>"])


def _y(at: int) -> int:
    return _TOP + _ROW_HEIGHT * at


def _shortened_label(label: str) -> str:
    if sum(map(_width, label)) <= _MAX_LABEL_WIDTH:
        return label
    # The end of a path is more specific than its beginning.
    end, room = "", _MAX_LABEL_WIDTH - 1
    for character in reversed(label):
        room -= _width(character)
        if room < 0:
            break
        end = character + end
    return f"…{end}"


def _width(character: str) -> int:
    """2 for the wide characters of Chinese, Japanese and Korean, else 1."""
    return 2 if east_asian_width(character) in "WF" else 1
