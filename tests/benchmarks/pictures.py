"""The pictures of the pages, by matplotlib. Names and axes are in English in both languages."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.tables import Run, cpu_beyond, ratio

# Colours that most readers can tell apart (Okabe and Ito 2008), and dashes for raw HTTP.
_COLORS = (
    "#0072b2", "#d55e00", "#009e73", "#56b4e9", "#e69f00", "#cc79a7", "#8c6d31", "#000000",
    "#7f7f7f", "#882255",
)  # fmt: skip
_MARKERS = "os^vDPX*<>"
# Enough for lines and smooth letters; the file is a third of the size.
_PALETTE = 48


def png(figure: Any) -> bytes:
    """A figure as a small PNG, the same bytes for the same numbers."""
    from PIL import Image

    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=90)
    with Image.open(drawn) as picture:
        picture.convert("RGB").quantize(_PALETTE, dither=Image.Dither.NONE).save(
            small, "png", optimize=True
        )
    return small.getvalue()


def lines_by_size(runs: Mapping[str, Run], names: Sequence[str], base: str) -> Any:
    """Left the time beside that of `base`, right the CPU for each document beyond it."""
    figure = _figure(2)
    times, cpu = figure.subplots(1, 2)
    for at, name in enumerate(name for name in names if name != base):
        sizes = [int(size) for size in runs if name in runs[size]["samples"]]
        measured = [runs[str(size)] for size in sizes]
        style: dict[str, Any] = {
            "color": _COLORS[at % len(_COLORS)],
            "marker": _MARKERS[at % len(_MARKERS)],
        }
        style |= {"linestyle": "--" if name.startswith("httpx") else "-", "markersize": 5}
        label = name.replace("`", "")
        times.plot(sizes, [ratio(run, name, base).median for run in measured], label=label, **style)
        pairs = zip(measured, sizes, strict=True)
        beyond = [cpu_beyond(run, name, base, size) for run, size in pairs]
        cpu.plot(sizes, beyond, **style)
    times.axhline(1, color="grey", linewidth=0.8)
    times.set_yscale("log")
    times.set_title("time / httpx's time with our bodies")
    cpu.axhline(0, color="grey", linewidth=0.8)
    cpu.set_yscale("symlog", linthresh=10)
    cpu.set_title("CPU beyond httpx's, microseconds a document")
    for axes in (times, cpu):
        axes.set_xscale("log")
        axes.set_xlabel("documents of a call")
        axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def bars(ratios: Mapping[str, float], title: str) -> Any:
    """A bar for each contender."""
    figure = _figure(1)
    axes = figure.subplots()
    labels = [name.replace("`", "") for name in ratios]
    shown = axes.barh(labels, list(ratios.values()), 0.6, color=_COLORS[0])
    axes.bar_label(shown, fmt="%.2g", padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_title(title)
    return figure


def _figure(columns: int) -> Any:
    # Without pyplot there is no search for a window system, and no global state.
    from matplotlib.figure import Figure

    return Figure(figsize=(10, 4.8) if columns == 2 else (8, 2.8), layout="constrained")
