"""Writing to the terminal: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

# Rows of a table that a terminal shows unless the user asks for more: the best stay in view.
TERMINAL_ROWS: Final = 10
# The table's heading, two notes, and the shell's next line.
_OTHER_LINES: Final = 4
_MIN_TEXT_WIDTH: Final = 20


def out() -> Console:
    """The console for results."""
    return Console(highlight=False)


def err() -> Console:
    """The console for notes, progress and errors."""
    return Console(stderr=True, highlight=False)


def on_terminal() -> bool:
    """Whether a person reads the results; FORCE_COLOR, which rich obeys, does not say so."""
    return sys.stdout.isatty()


def print_table(build: Callable[[Sequence[Text]], Table], texts: Sequence[Text]) -> None:
    """Print a table whose last column holds long texts.

    On a terminal each text is shortened so that the whole table can be seen, to one line at least.

    Args:
        build: makes the table of the last column's texts.
        texts: one for each row.
    """
    console = out()
    if on_terminal() and texts:
        probe = [Text("x" * _MIN_TEXT_WIDTH)] * len(texts)
        beside = console.measure(build(probe)).maximum - _MIN_TEXT_WIDTH
        width = max(_MIN_TEXT_WIDTH, console.width - beside)
        lines = max(1, (console.height - _OTHER_LINES) // len(texts))
        texts = [_first_lines(text, console, width, lines) for text in texts]
    console.print(build(texts))


def _first_lines(text: Text, console: Console, width: int, count: int) -> Text:
    lines = text.wrap(console, width, overflow="fold")
    first_lines = list(lines[:count])
    if len(lines) > count:
        first_lines[-1].rstrip()
        first_lines[-1].truncate(width - 1)
        first_lines[-1].append("…")
    return Text("\n").join(first_lines)


def print_json(value: Any) -> None:
    """`value` on stdout, ASCII only: any locale can carry it, lone surrogates included."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def print_note(message: str) -> None:
    """A message on stderr."""
    _print_message(Text(), message, "dim")


def print_error(message: str, kind: str = "error") -> None:
    """An error in one block on stderr: what is wrong, and what to do next."""
    label = Text("error: " if kind == "error" else f"error ({kind}): ", style="bold red")
    _print_message(label, message)


def _print_message(label: Text, message: str, style: str = "") -> None:
    # Any message may quote a server or a file.
    err().print(label + Text(terminal_text(message), style=style), soft_wrap=True)


def terminal_text(text: str) -> str:
    """`text` without what could steer a terminal or turn the line around; line ends stay."""
    return "".join(
        character if character in "\n\t" or _harmless(character) else "\ufffd" for character in text
    )


def one_line(text: str, length: int) -> str:
    """At most `length` characters of `terminal_text(text)`, white space folded."""
    folded = " ".join(terminal_text(text[: 4 * length]).split())
    return folded if len(folded) <= length else folded[: length - 1] + "…"


def _harmless(character: str) -> bool:
    # Control, surrogate and format characters, and Unicode's own line ends; joiners, which emoji
    # and Arabic need, stay.
    steering = unicodedata.category(character) in {"Cc", "Cs", "Cf", "Zl", "Zp"}
    return not steering or character in "\u200c\u200d"
