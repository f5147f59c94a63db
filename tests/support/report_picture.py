"""The READMEs' picture: the HTML report of the demo's first question, as chromium shows it.

`python tests/support/report_picture.py` writes docs/assets/report.png and, for readers who prefer
a dark page, docs/assets/report-dark.png.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy
from matplotlib.image import imread
from PIL import Image

from qwen3_ascend_retrievers import Engine, LocalEngine

ROOT: Final = Path(__file__).parents[2]
ASSETS: Final = ROOT / "docs" / "assets"
# Of the page, of lines that went up and of lines that went down, as in explain_report.html.
LIGHT: Final = ((0xFF, 0xFF, 0xFF), (0x1B, 0x78, 0x37), (0xB2, 0x18, 0x2B))
DARK: Final = ((0x14, 0x18, 0x1E), (0x56, 0xC2, 0x71), (0xFF, 0x7A, 0x70))
# Chromium's numbers for what the user prefers.
SCHEMES: Final = {"dark": ("0", DARK), "light": ("1", LIGHT)}
PICTURES: Final = {"light": "report.png", "dark": "report-dark.png"}
# All 20 of the demo fill more than a screen; the answer is among these.
PASSAGES: Final = 10
# The window ends below the chart, in the space above the table. In CSS pixels.
WIDTH, HEIGHT, EDGE = 640, 498, 6
# Two pixels for each, so that it is sharp on a dense display too.
SCALE: Final = 2
# Enough for the text's smooth edges; the file is a third of the size.
COLORS: Final = 32


def chromium(page: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Debian's chromium on a page, with a profile of its own."""
    program = shutil.which("chromium")
    assert program, "chromium is needed: apt-get install -y chromium"
    profile = f"--user-data-dir={page.parent / 'profile'}"
    usual = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", profile)
    return subprocess.run(
        [program, *usual, *arguments, page.as_uri()], capture_output=True, timeout=600, check=True
    )


def screenshot(page: Path, picture: Path, size: tuple[int, int], scheme: str, scale: int) -> Any:
    """Write what a window of `size` CSS pixels shows to `picture`.

    Returns:
        Its pixels: rows, columns, and red, green and blue from 0 to 255.
    """
    width, height = size
    chromium(
        page,
        f"--window-size={width},{height}",
        f"--force-device-scale-factor={scale}",
        f"--blink-settings=preferredColorScheme={SCHEMES[scheme][0]}",
        f"--screenshot={picture}",
    )
    pixels = imread(picture)[:, :, :3] * 255
    assert pixels.shape[:2] == (height * scale, width * scale)
    return pixels


def near(pixels: Any, color: tuple[int, int, int]) -> Any:
    """Which pixels have that colour."""
    return (numpy.abs(pixels - color) < 12).all(axis=2)


def write_report(engine: Engine, path: Path) -> Path:
    """The demo's own report of its first question, on the best passages of BM25."""
    # The examples import each other by their bare names.
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        quickstart = import_module("quickstart")
    finally:
        sys.path.remove(str(ROOT / "examples"))
    question = quickstart.QUESTIONS[0]
    found = quickstart.Bm25(quickstart.passages()).search(question.text, PASSAGES)
    first = [quickstart.Ranked(passage.topic, passage.text, score) for passage, score in found]
    written: Path = quickstart.write_report(
        engine, quickstart.Outcome(question, first, [], 0.0), path
    )
    return written


def write_pictures(engine: Engine, folder: Path) -> None:
    """Write both pictures into `folder`.

    Raises:
        ValueError: this machine's fonts set the text so that the chart would be cut.
    """
    with tempfile.TemporaryDirectory() as temporary:
        page = write_report(engine, Path(temporary) / "report.html")
        for scheme, name in PICTURES.items():
            pixels = screenshot(page, folder / name, (WIDTH, HEIGHT), scheme, SCALE)
            background = SCHEMES[scheme][1][0]
            if not near(pixels[-EDGE * SCALE :], background).all():
                raise ValueError(f"HEIGHT={HEIGHT} cuts through the page: look, and change it.")
            picture = Image.open(folder / name).convert("RGB").quantize(COLORS)
            picture.save(folder / name, optimize=True)


if __name__ == "__main__":
    with LocalEngine("tiny") as tiny:
        write_pictures(tiny, ASSETS)
