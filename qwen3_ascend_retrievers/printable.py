"""Text of others as a message may show it. The lowest module: the errors themselves use it."""

from __future__ import annotations

import unicodedata


def printable(text: str, most: int | None = None, *, keep: str = "") -> str:
    """`text` in one line, with escapes for whatever could steer a terminal or hide or turn text.

    Args:
        text: whatever somebody else sent or wrote.
        most: characters of the result, at most; None keeps all of it.
        keep: control characters that stay as they are.
    """
    # Each character is one or more in the result, so that no more than these are needed.
    begin = text if most is None else text[: most + 1]
    line = "".join(letter if letter in keep else _escaped(letter) for letter in begin)
    return line if most is None or len(line) <= most else line[: most - 1] + "…"


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    if unicodedata.category(character) == "Zs":
        return " "
    return ascii(character)[1:-1]
