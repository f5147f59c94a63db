"""The report in headless Chromium: laid out at a phone's and a desk's width, light and dark."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

from qwen3_ascend_retrievers import LocalEngine, Reranker
from qwen3_ascend_retrievers.testing import FakeEngine
from qwen3_ascend_retrievers.tools.explanation import explain
from qwen3_ascend_retrievers.tools.explanation.report import html_report
from support.report_picture import (
    ASSETS,
    PICTURES,
    SCHEMES,
    chromium,
    near,
    screenshot,
    write_pictures,
)

DOCUMENTS = ["bread", "a dog", "the black cat", "cat", '<img src="http://127.0.0.1:9/x">']
# The body's padding, of which a scroll bar or a rounded pixel may take a little.
MARGIN = 12


def drawn(page: Path, width: int, scheme: str) -> Any:
    """The page's pixels: rows, columns, and red, green and blue from 0 to 255."""
    return screenshot(page, page.parent / "picture.png", (width, 1000), scheme, scale=1)


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


def pixels_of(picture: Path) -> Any:
    return imread(picture)[:, :, :3] * 255


def test_the_readmes_pictures_are_what_their_script_writes(tmp_path: Path) -> None:
    with LocalEngine("tiny") as engine:
        write_pictures(engine, tmp_path)
    for scheme, name in PICTURES.items():
        assert (ASSETS / name).stat().st_size < 150_000
        shown, written = pixels_of(ASSETS / name), pixels_of(tmp_path / name)
        assert shown.shape == written.shape
        # What is drawn in the lines' colours depends on the order, and hardly on the fonts.
        for color in SCHEMES[scheme][1][1:]:
            expected = near(written, color).sum()
            assert near(shown, color).sum() == pytest.approx(expected, rel=0.02)


def test_a_picture_that_cuts_the_page_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("support.report_picture.HEIGHT", 470)
    with pytest.raises(ValueError, match="HEIGHT=470 cuts through the page"):
        write_pictures(FakeEngine(), tmp_path)
