"""What `make demo` prints: at any width, and where the two frameworks disagree.

tests/test_examples.py runs it as users do, with its model; here a fake engine scores.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from qwen3_ascend_retrievers.core.plan import Plan
from qwen3_ascend_retrievers.core.ranking import Score
from qwen3_ascend_retrievers.engines.base import Call
from qwen3_ascend_retrievers.testing import FakeEngine
from support.example_output import EXAMPLES

MODULES = ("language_reference", "questions", "quickstart", "quickstart_output")
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-|\bid:", re.IGNORECASE)

# Runs the demo on an engine, at a width; its exit status and what it printed.
Demo = Callable[..., tuple[int, str]]


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    monkeypatch.syspath_prepend(EXAMPLES)
    modules = {name: import_module(name) for name in MODULES}
    monkeypatch.setattr(modules["quickstart"], "REPORT", tmp_path / "build" / "report.html")
    return modules


@pytest.fixture
def demo(
    modules: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Demo:
    def run(engine: FakeEngine, width: int = 80) -> tuple[int, str]:
        monkeypatch.setenv("COLUMNS", str(width))
        status = modules["quickstart"].main(engine)
        return status, capsys.readouterr().out

    return run


@pytest.mark.parametrize("width", [60, 80, 200])
def test_every_line_fits(width: int, demo: Demo, tmp_path: Path) -> None:
    _, printed = demo(FakeEngine(), width)
    lines = [line for line in printed.splitlines() if str(tmp_path) not in line]
    assert [line for line in lines if len(line) > min(width, 100)] == []
    assert [line for line in lines if line != line.rstrip()] == []
    assert max(map(len, lines)) > min(width, 100) - 10


def test_each_question_is_a_block_and_a_row(demo: Demo, modules: dict[str, Any]) -> None:
    _, printed = demo(FakeEngine())
    blocks = printed.split("\n── ")[1:]
    questions = [question.text for question in modules["questions"].QUESTIONS]
    assert [block.partition(" ─")[0] for block in blocks] == questions
    for question, block in zip(questions, blocks, strict=True):
        places = re.search(
            r"^The answer: place (\d+) -> (\d+) \((better|same|worse)\)$", block, re.M
        )
        assert places is not None, block
        before, after = places[1], places[2]
        assert f"\n{before:>4}  {after:>4}  {question}\n" in printed
        assert "✔ " in block
        # Two passages of each order, and the answer if it is none of them; each of three lines.
        assert 13 < block.partition("\n\n")[0].count("\n") < 22


def test_no_id_is_shown(demo: Demo) -> None:
    assert _ID.search("> Source (Doc id: 0574a8c4-5ac6-4771-8a95-148a150bacdc)") is not None
    assert _ID.search(demo(FakeEngine())[1]) is None


def test_the_report_is_where_the_demo_says(
    demo: Demo, modules: dict[str, Any], tmp_path: Path
) -> None:
    _, printed = demo(FakeEngine())
    (line,) = [line for line in printed.splitlines() if line.endswith("report.html")]
    page = Path(line.strip()).read_text(encoding="utf-8")
    assert Path(line.strip()).is_relative_to(tmp_path)
    assert f"<h1>{modules['questions'].QUESTIONS[0].text}" in re.sub("</?bdi>", "", page)
    assert "<svg" in page


def test_a_file_s_encoding_without_the_marks_ends_nothing(
    modules: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "out").open("w", encoding="ascii") as out:
        monkeypatch.setattr(sys, "stdout", out)
        modules["quickstart"].main(FakeEngine())
    assert "? What does a bare raise do? ?" in (tmp_path / "out").read_text(encoding="ascii")


class Forgetful(FakeEngine):
    """Scores as FakeEngine does for LangChain's six questions, and then otherwise."""

    def score(self, plan: Plan, call: Call) -> list[Score]:
        scores = super().score(plan, call)
        return scores if len(self.calls) <= 6 else scores[::-1]


def test_two_orders_are_no_success(demo: Demo) -> None:
    status, printed = demo(Forgetful())
    assert status == 1
    assert "gave the same order" not in printed
    assert "did NOT give the same" in printed
    assert "the order differs for What does a bare raise do?" in printed.replace("\n", " ")


def test_success_is_an_answer_that_moved_up(demo: Demo, modules: dict[str, Any]) -> None:
    answers = [question.answer for question in modules["questions"].QUESTIONS]
    corpus = [passage.text for passage in modules["language_reference"].passages()]
    right = {text: float(any(a in " ".join(text.split()) for a in answers)) for text in corpus}
    status, printed = demo(FakeEngine(right))
    assert (status, printed.count("-> 1 (better)")) == (0, 4)
    assert "same order and scores (100 passages, largest difference 0)" in " ".join(printed.split())
    status, printed = demo(FakeEngine({text: 1 - score for text, score in right.items()}))
    assert (status, printed.count("-> 20 (worse)")) == (1, 5)


def test_scores_and_orders_are_really_compared(modules: dict[str, Any]) -> None:
    output = modules["quickstart_output"]
    question = modules["questions"].Question("Which?", "the answer")
    order = [output.Ranked("topic", text, score) for text, score in (("a", 0.9), ("b", 0.2))]
    outcomes = [output.Outcome(question, order, order, 0.1)]

    def compared(other: Sequence[Any]) -> Any:
        return output.Comparison.of(outcomes, [list(other)])

    assert compared(order).same
    assert (compared(order).passages, compared(order).largest) == (2, 0)
    assert not compared(order[::-1]).same
    assert compared(order[::-1]).reordered == ("Which?",)
    assert not compared([order[0], replace(order[1], score=0.201)]).same
    # What two calls of one model may differ by.
    assert compared([order[0], replace(order[1], score=0.2000001)]).same


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("", "A title First. Second one, to"),
        ("Second one", "… Second one, to"),
        ("wanted thing", "… The wanted thing."),
    ],
)
def test_an_excerpt_begins_where_the_answer_does(
    answer: str, expected: str, modules: dict[str, Any]
) -> None:
    text = "A title\n*******\n\nFirst. Second one,\n   to end\n\nHere. The wanted thing.\n"
    assert modules["quickstart_output"].excerpt(text, answer).startswith(expected)
