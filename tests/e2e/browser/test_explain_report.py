"""The report in headless Chromium: laid out at a phone's and a desk's width, light and dark."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy
import pytest
from matplotlib.image import imread

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.testing import FakeEngine
from qwen3_ascend_retrievers.tools.explanation import explain
from qwen3_ascend_retrievers.tools.explanation.report import html_report

DOCUMENTS = ["bread", "a dog", "the black cat", "cat", '<img src="http://127.0.0.1:9/x">']
# Of the page, of lines that went up and of lines that went down, as in explain_report.html.
LIGHT = ((0xFF, 0xFF, 0xFF), (0x1B, 0x78, 0x37), (0xB2, 0x18, 0x2B))
DARK = ((0x14, 0x18, 0x1E), (0x56, 0xC2, 0x71), (0xFF, 0x7A, 0x70))
# Chromium's numbers for what the user prefers.
SCHEMES = {"dark": ("0", DARK), "light": ("1", LIGHT)}
# The body's padding, of which a scroll bar or a rounded pixel may take a little.
MARGIN = 12


def chromium(page: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Debian's chromium on a page, with a profile of its own."""
    program = shutil.which("chromium")
    assert program, "this test needs chromium: apt-get install -y chromium"
    profile = f"--user-data-dir={page.parent / 'profile'}"
    usual = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", profile)
    return subprocess.run(
        [program, *usual, *arguments, page.as_uri()], capture_output=True, timeout=600, check=True
    )


def drawn(page: Path, width: int, scheme: str) -> Any:
    """The page's pixels: rows, columns, and red, green and blue from 0 to 255."""
    picture = page.parent / "picture.png"
    preference = f"--blink-settings=preferredColorScheme={SCHEMES[scheme][0]}"
    chromium(page, f"--window-size={width},1000", preference, f"--screenshot={picture}")
    pixels = imread(picture)[:, :, :3] * 255
    assert pixels.shape[:2] == (1000, width)
    return pixels


def near(pixels: Any, color: tuple[int, int, int]) -> Any:
    """Which pixels have that colour."""
    return (numpy.abs(pixels - color) < 12).all(axis=2)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    reranker = Reranker(FakeEngine())
    tasks = ("Find cats", "Find <b>")
    explanations = [explain(reranker, "black cat", DOCUMENTS, task) for task in tasks]
    path = tmp_path / "report.html"
    path.write_text(html_report(explanations, [f"file-{at}.txt" for at in range(5)]), "utf-8")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_charts_are_drawn_in_the_colours_that_the_reader_prefers(
    page: Path, scheme: str
) -> None:
    pixels = drawn(page, 1400, scheme)
    background, *lines = SCHEMES[scheme][1]
    assert near(pixels, background).mean() > 0.7
    for color in lines:
        # Both charts hold lines of both colours: left and right half of the page.
        assert near(pixels, color)[:, :700].sum() > 50
        assert near(pixels, color)[:, 700:].sum() > 50


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [420, 1280])
def test_nothing_is_wider_than_the_window(tmp_path: Path, width: int, scheme: str) -> None:
    long = "x" * 3000
    reranker = Reranker(FakeEngine(max_length=400), overflow="window")
    documents = [long, "the black cat " * 900, "猫" * 500, "a dog"]
    explanation = explain(reranker, f"black cat {long[:200]}", documents, "Find cats")
    page = tmp_path / "report.html"
    names = [f"{long[:200]}.txt", "folder/" * 20, "黑猫" * 50, "d"]
    page.write_text(html_report([explanation], names), "utf-8")
    pixels = drawn(page, width, scheme)
    background, up, _ = SCHEMES[scheme][1]
    assert near(pixels, up).any()
    for edge in (pixels[:, :MARGIN], pixels[:, -MARGIN:]):
        assert near(edge, background).all()


def test_the_browser_reads_it_as_it_was_meant(page: Path) -> None:
    read = chromium(page, "--dump-dom").stdout.decode("utf-8")
    assert len(re.findall(r'<svg class="slope"', read)) == 2
    assert len(re.findall(r"<line ", read)) == 10
    assert len(re.findall(r"<tbody>", read)) == 2
    details = re.findall(r"<details.*?>", read)
    assert details == ['<details open="">', *["<details>"] * 9]
    assert "<img" not in read
    assert "<b>" not in read
