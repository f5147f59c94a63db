"""Every notebook runs as it stands, offline, puts out what it shows, and leaves no process."""

from __future__ import annotations

import itertools
import re
import tempfile
from pathlib import Path

import nbformat
import pytest

from support.notebook_runs import NOTEBOOKS, executed, numbers, outputs, processes, words

# How far a number may be from the one in the notebook: places and counts, and then scores. Each
# version of Python has a slightly different language reference; the judged data are ours.
REFERENCE, OURS = (3, 0.1), (1, 0.03)
TOLERANCES = {
    "judge_your_collection": OURS,
    "langchain_hybrid_rag": REFERENCE,
    "llama_index_hybrid_rag": REFERENCE,
}


def is_close(expected: float, actual: float, tolerance: tuple[float, float]) -> bool:
    places, scores = tolerance
    if expected.is_integer() and actual.is_integer():
        # The number of passages in all grows from version to version.
        return abs(expected - actual) <= (places if expected < 500 else 0.1 * expected)
    return abs(expected - actual) <= scores


def test_every_notebook_is_run_here() -> None:
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(TOLERANCES)
    index = (NOTEBOOKS / "README.md").read_text(encoding="utf-8")
    assert [name for name in TOLERANCES if f"({name}.ipynb)" not in index] == []


@pytest.mark.parametrize("name", sorted(TOLERANCES))
def test_a_notebook_puts_out_what_it_shows(name: str) -> None:
    notebook = NOTEBOOKS / f"{name}.ipynb"
    before = {path.name for path in NOTEBOOKS.iterdir()}
    with tempfile.TemporaryDirectory() as folder:
        book = executed(notebook, Path(folder))
        assert processes(Path(folder)) == []
    assert {path.name for path in NOTEBOOKS.iterdir()} - before <= {"__pycache__"}
    shown = outputs(nbformat.read(notebook, as_version=4))
    printed = outputs(book)
    assert [words(text) for text in printed] == [words(text) for text in shown]
    far = [
        (expected, actual)
        for shown_text, printed_text in zip(shown, printed, strict=True)
        for expected, actual in zip(numbers(shown_text), numbers(printed_text), strict=True)
        if not is_close(expected, actual, TOLERANCES[name])
    ]
    assert far == []


@pytest.mark.parametrize("name", sorted(TOLERANCES))
def test_a_notebook_explains_itself_and_says_what_to_change(name: str) -> None:
    book = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    texts = [cell.source for cell in book.cells if cell.cell_type == "markdown"]
    assert texts[0].startswith("# ")
    assert "demonstration only" in texts[0]
    assert "## For real use" in texts[-1]
    assert book.cells[-1].cell_type == "markdown"
    # A code cell is explained by the text before it.
    kinds = [cell.cell_type for cell in book.cells]
    assert all(pair != ("code", "code") for pair in itertools.pairwise(kinds))
    links = re.findall(r"\]\(([^):]+)\)", "\n".join(texts))
    assert [link for link in links if not (NOTEBOOKS / link).exists()] == []
