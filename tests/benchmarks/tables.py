"""Numbers of records as rows of tables: ratios with their spread, and CPU for each document.

A cell is a number, code in backticks, or a phrase that `wording.py` translates as a whole.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

NONE = "-"
SERVER_SHARE = "CPU of the server in httpx's time"
Run = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """A table of a page."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Ratio:
    """A ratio of medians, and the least and greatest ratio of one round."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float], base: Sequence[float]) -> Ratio:
        """Of values to base values, round by round."""
        ratios = [value / base_value for value, base_value in zip(values, base, strict=True)]
        return cls(median(values) / median(base), min(ratios), max(ratios))

    def __str__(self) -> str:
        return f"{figures(self.median)} ({figures(self.least)}-{figures(self.greatest)})"


def figures(number: float) -> str:
    """Two figures, or all before the point."""
    if number >= 10:
        return f"{number:,.0f}"
    return f"{number:.1f}" if number >= 2 else f"{number:.2f}"


def ratio(run: Run, name: str, base: str) -> Ratio:
    """A contender's time to another's."""
    samples = run["samples"]
    return Ratio.of(samples[name]["seconds"], samples[base]["seconds"])


def cpu_beyond(run: Run, name: str, base: str, documents: int) -> float:
    """Microseconds of CPU for each document, more than the base's."""
    medians = [median(run["samples"][each]["cpu_seconds"]) for each in (name, base)]
    return float(medians[0] - medians[1]) / documents * 1e6


def ratio_rows(
    names: Sequence[str],
    runs: Mapping[str, Run],
    *,
    base: str,
    peers: Collection[str],
    ours: str,
    count: str | None = None,
) -> list[list[str]]:
    """A row for each contender, a cell for each run: its time to that of `base`.

    Args:
        names: of the contenders, in the order of the rows.
        runs: by column.
        base: whose time is 1.
        peers: those that are in bold where they are faster than `ours`.
        ours: this package.
        count: which number of the samples of the last run has a cell of its own at the end, if any.
    """
    rows = []
    for name in names:
        rival = ours if name in peers else None
        cells = [_ratio_cell(run, name, base, rival) for run in runs.values()]
        # A reason is given once.
        cells = [
            NONE if cell in cells[:at] and cell[0] == "`" else cell for at, cell in enumerate(cells)
        ]
        if count is not None:
            samples = list(runs.values())[-1]["samples"].get(name)
            cells.append(NONE if samples is None else f"{samples[count]:,.0f}")
        rows.append([name, *cells])
    return rows


def _ratio_cell(run: Run, name: str, base: str, rival: str | None) -> str:
    if name in run["refused"]:
        return code(run["refused"][name])
    if not {name, base} <= set(run["samples"]):
        return NONE
    cell = "1" if name == base else str(ratio(run, name, base))
    is_faster = rival is not None and ratio(run, name, rival).median < 1
    return f"**{cell}**" if is_faster else cell


def cpu_rows(
    names: Sequence[str], runs: Mapping[str, Run], base: str, sizes: Sequence[int]
) -> list[list[str]]:
    """A row for each contender that was timed: its CPU for each document beyond that of `base`."""
    rows = []
    for name in names:
        cells = [
            f"{cpu_beyond(run, name, base, size):.1f}" if name in run["samples"] else NONE
            for run, size in zip(runs.values(), sizes, strict=True)
        ]
        rows.append([name, *cells])
    return rows


def share_of_server(run: Run, base: str) -> float:
    """How much of the time of `base` was the server's, by its CPU."""
    samples = run["samples"][base]
    return float(median(samples["server_cpu_seconds"]) / median(samples["seconds"]))


def server_row(runs: Mapping[str, Run], base: str) -> list[str]:
    """That share as a row."""
    cells = [f"{share_of_server(run, base):.0%}" for run in runs.values()]
    return [SERVER_SHARE, *cells, NONE]


def code(text: str) -> str:
    """Foreign text as a cell's code."""
    cleaned = text.replace("`", "'").replace("|", "/")
    return f"`{cleaned}`"
