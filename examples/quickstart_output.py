"""What `make demo` prints, for 80 columns and more, on a terminal and in a file."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from statistics import median
from textwrap import fill, wrap

from questions import Question
from rich.console import Console
from rich.text import Text

# Wider lines are hard to read, and narrower ones hold no thought.
MAX_WIDTH, MIN_WIDTH = 100, 20
# Passages of each order, and the lines of each.
PASSAGES, LINES = 2, 3
# Scores are equal up to what an engine's arithmetic may differ by from one call to the next.
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Ranked:
    """One passage in one of the two orders, with the score that put it there."""

    topic: str
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """Both orders for a question, and the seconds that the second one took."""

    question: Question
    first: list[Ranked]
    reranked: list[Ranked]
    seconds: float

    def places(self) -> tuple[int | None, int | None]:
        """Where the first passage with the answer stands, from 1, in either order."""
        return self._place(self.first), self._place(self.reranked)

    def change(self) -> str:
        """The places in words; worse is said as plainly as better."""
        before, after = self.places()
        if before is None or after is None:
            return "missing from both"
        word = "better" if after < before else "worse" if after > before else "same"
        return f"place {before} -> {after} ({word})"

    def moved_up(self) -> bool:
        return self.change().endswith("(better)")

    def style(self) -> str:
        return "green" if self.moved_up() else "red" if "(worse)" in self.change() else ""

    def _place(self, passages: list[Ranked]) -> int | None:
        places = (
            place
            for place, passage in enumerate(passages, 1)
            if self.question.answered_by(passage.text)
        )
        return next(places, None)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether another framework gave the same orders, and by how much scores differ at most."""

    passages: int
    reordered: tuple[str, ...]
    largest: float

    @classmethod
    def of(cls, outcomes: list[Outcome], others: Iterable[list[Ranked]]) -> Comparison:
        passages, reordered, largest = 0, [], 0.0
        for outcome, other in zip(outcomes, others, strict=True):
            passages += len(other)
            texts = [passage.text for passage in outcome.reranked]
            if texts != [passage.text for passage in other]:
                reordered.append(outcome.question.text)
                continue
            pairs = zip(outcome.reranked, other, strict=True)
            largest = max(largest, *(abs(mine.score - theirs.score) for mine, theirs in pairs))
        return cls(passages, tuple(reordered), largest)

    @property
    def same(self) -> bool:
        return not self.reordered and self.largest <= TOLERANCE


class Output:
    """The demo's parts, printed in the order of its methods.

    Lines are broken here and not by rich, which fills them with spaces.
    """

    def __init__(self, console: Console | None = None) -> None:
        if console is None and isinstance(sys.stdout, TextIOWrapper):
            # A mark that an old terminal lacks must not end the demo.
            sys.stdout.reconfigure(errors="replace")
        self._console = Console() if console is None else console
        self._width = min(self._console.width, MAX_WIDTH)

    def introduction(self, passages: int, candidates: int) -> None:
        self._print("")
        self._print("LangChain: ContextualCompressionRetriever", style="bold")
        self._print(
            f"BM25 finds {candidates} of the {passages} passages of Python's language reference, "
            "Qwen3Rerank puts them in order by the model's P(yes)."
        )
        self._print("")
        self._print(
            "The model is tiny (4 layers, carried by this package). It matches words, for "
            "demonstration and self-test only, and the questions were chosen to show something; "
            "docs/tiny-model.md has measurements. ✔ marks a passage that holds the answer."
        )

    def block(self, outcome: Outcome) -> None:
        """A question, its answer's places, and the best passages of both orders."""
        self._print("")
        self._print(f"── {outcome.question.text} ".ljust(self._width, "─"), style="bold")
        self._print(f"The answer: {outcome.change()}", style=outcome.style())
        self._print(f"{'BM25':>15}  first stage", style="dim")
        for place, passage in enumerate(outcome.first[:PASSAGES], 1):
            self._passage(f"{place:>2}{passage.score:>13.2f}  ", outcome.question, passage)
        self._print(f"{'was':>7}{'P(yes)':>8}  reranked", style="dim")
        before = {passage.text: place for place, passage in enumerate(outcome.first, 1)}
        for place, passage in self._worth_showing(outcome):
            prefix = f"{place:>2}{before[passage.text]:>5}{passage.score:>8.3f}  "
            self._passage(prefix, outcome.question, passage)

    def comparison(self, comparison: Comparison) -> None:
        name = "LlamaIndex: RetrieverQueryEngine"
        difference = f"{comparison.largest:.1g}"
        self._print("")
        if comparison.same:
            self._print(
                f"{name} gave the same order and scores "
                f"({comparison.passages} passages, largest difference {difference})."
            )
            return
        reordered = ", ".join(comparison.reordered) or "no question"
        self._print(
            f"{name} did NOT give the same: scores differ by up to {difference}, "
            f"the order differs for {reordered}.",
            style="red",
        )

    def summary(self, outcomes: list[Outcome]) -> None:
        self._print("")
        self._print("Place of the first passage with the answer, of BM25 and of tiny:")
        self._print("")
        self._print("BM25  tiny  question", style="dim")
        for outcome in outcomes:
            before, after = ("-" if place is None else place for place in outcome.places())
            row = f"{before:>4}  {after:>4}  "
            self._print(row + outcome.question.text, style=outcome.style(), indent=len(row))
        count, seconds = len(outcomes[0].reranked), median(each.seconds for each in outcomes)
        self._print("")
        self._print(f"Finding and reranking {count} passages took {seconds:.1f} s here (median).")

    def next_steps(self, report: Path) -> None:
        """Where one question's report is, and three ways on."""
        path = os.path.relpath(report) if report.is_relative_to(Path.cwd()) else str(report)
        self._print("")
        self._print("The first question's order, scores and exact prompts, for your browser:")
        # Whole, so that it can be copied.
        self._console.print(Text(f"  {path}", "bold"), soft_wrap=True)
        self._print("")
        self._print("What next:", style="bold")
        self._print("  the code of this demo     examples/quickstart.py")
        self._print('  a model for real use      Qwen3Rerank(model="Qwen/Qwen3-Reranker-0.6B")')
        self._print("  install, servers, NPUs    README.md, README.zh-CN.md")

    def _worth_showing(self, outcome: Outcome) -> list[tuple[int, Ranked]]:
        """The best of the new order, and the answer if it is not among them."""
        best = list(enumerate(outcome.reranked, 1))[:PASSAGES]
        _, place = outcome.places()
        if place is not None and place > PASSAGES:
            best.append((place, outcome.reranked[place - 1]))
        return best

    def _passage(self, prefix: str, question: Question, passage: Ranked) -> None:
        """The beginning of a passage, or its answer with what follows."""
        answer = question.answer if question.answered_by(passage.text) else ""
        label = f"{'✔ ' if answer else ''}{passage.topic}: "
        lines = wrap(
            label + excerpt(passage.text, answer),
            max(self._width - len(prefix), MIN_WIDTH),
            max_lines=LINES,
            placeholder=" …",
            break_on_hyphens=False,
        )
        text = Text(f"\n{' ' * len(prefix)}".join(lines))
        text.stylize("green" if answer else "cyan", 0, len(label))
        if answer:
            text.highlight_regex(r"\s+".join(map(re.escape, answer.split())), "green")
        self._console.print(Text(prefix) + text, soft_wrap=True, highlight=False)

    def _print(self, line: str, *, style: str = "", indent: int = 0) -> None:
        text = fill(line, max(self._width, MIN_WIDTH), subsequent_indent=" " * indent)
        self._console.print(Text(text, style), soft_wrap=True, highlight=False)


def excerpt(text: str, answer: str) -> str:
    """`text` on one line, from the sentence of `answer` on, or from its start if that is empty."""
    paragraphs = [" ".join(_words(paragraph)) for paragraph in re.split(r"\n\s*\n", text)]
    first = next((at for at, words in enumerate(paragraphs) if answer in words), 0)
    sentence = paragraphs[first].rfind(". ", 0, paragraphs[first].find(answer))
    start = 0 if sentence < 0 else sentence + len(". ")
    return "… " * (first + start > 0) + " ".join(paragraphs[first:])[start:]


def _words(paragraph: str) -> list[str]:
    """Its words. A title is underlined in the text; in a few lines of output that is noise."""
    return [word for word in paragraph.split() if word.strip("*=-^~")]
