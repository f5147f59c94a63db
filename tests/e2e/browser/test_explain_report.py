"""The report in headless Chromium: it is laid out, its lines are drawn, nothing is fetched."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.testing import FakeEngine
from qwen3_ascend_retrievers.tools.explanation import explain
from qwen3_ascend_retrievers.tools.explanation.report import html_report

DOCUMENTS = ["bread", "a dog", "the black cat", "cat", '<img src="http://127.0.0.1:9/x">']


def chromium(page: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Debian's chromium on a page, with a profile of its own."""
    program = shutil.which("chromium")
    assert program, "this test needs chromium: apt-get install -y chromium"
    profile = f"--user-data-dir={page.parent / 'profile'}"
    usual = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", profile)
    return subprocess.run(
        [program, *usual, *arguments, page.as_uri()], capture_output=True, timeout=600, check=True
    )


@pytest.fixture
def page(tmp_path: Path) -> Path:
    reranker = Reranker(FakeEngine())
    made = [explain(reranker, "black cat", DOCUMENTS, one) for one in ("Find cats", "Find <b>")]
    report = html_report(made, [f"file-{at}.txt" for at in range(5)])
    path = tmp_path / "report.html"
    path.write_text(report, "utf-8")
    return path


def test_the_page_is_drawn(page: Path, tmp_path: Path) -> None:
    shot = tmp_path / "shot.png"
    chromium(page, "--window-size=1400,1000", f"--screenshot={shot}")
    pixels = _pixels(shot)
    height, width, _ = pixels.shape
    assert (width, height) == (1400, 1000)
    for color in ((0x1B, 0x78, 0x37), (0xB2, 0x18, 0x2B)):
        close = (abs(pixels[:, :, :3] * 255 - color) < 12).all(axis=2)
        # Both charts hold lines of both colours: left and right half of the page.
        assert close[:, : width // 2].sum() > 50
        assert close[:, width // 2 :].sum() > 50


def test_the_browser_reads_it_as_it_was_meant(page: Path) -> None:
    read = chromium(page, "--dump-dom").stdout.decode("utf-8")
    assert len(re.findall(r'<svg class="slope"', read)) == 2
    assert len(re.findall(r"<line ", read)) == 10
    assert len(re.findall(r"<tbody>", read)) == 2
    assert len(re.findall(r"<details>", read)) == 10
    assert "<img" not in read
    assert "<b>" not in read


def _pixels(path: Path):  # type: ignore[no-untyped-def]  # numpy's array
    from matplotlib.image import imread

    return imread(path)
