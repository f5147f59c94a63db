"""Writing to the terminal: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
import unicodedata
from typing import Any

from rich.console import Console
from rich.text import Text


def out() -> Console:
    """The console for results."""
    return Console(highlight=False)


def err() -> Console:
    """The console for notes, progress and errors."""
    return Console(stderr=True, highlight=False)


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
