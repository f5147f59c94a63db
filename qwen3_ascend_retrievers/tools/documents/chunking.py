"""Splitting text and Markdown files into passages. files.py reads the files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

TextSpan = tuple[int, int]

# About 300 tokens of English text, a usual passage of retrieval benchmarks.
CHUNK_CHARACTERS: Final = 1200

_HEADING: Final = re.compile(r" {0,3}#{1,6}\s")
_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")
_SENTENCE: Final = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+|(?<=[…。！？])[”’）]*\s*|\n")
_SPACE: Final = re.compile(r"\s+")


def split_text(text: str, size: int = CHUNK_CHARACTERS) -> list[TextSpan]:
    """Code points [start, end) of passages that cover all of `text` but the space between them.

    Paragraphs (and fenced code blocks, whole) are joined while at most `size` characters come
    together; a Markdown heading starts a new passage. A longer paragraph is split at sentence or
    line ends, else at a space, else after `size` characters. Nothing overlaps.
    """
    spans: list[TextSpan] = []
    bare = True
    for start, end in _blocks(text):
        heading = _HEADING.match(text, start) is not None
        fits = bool(spans) and end - spans[-1][0] <= size
        if fits and (not heading or bare):
            spans[-1] = (spans[-1][0], end)
            bare = bare and heading
        else:
            spans += _split_block(text, start, end, size)
            bare = heading
    return spans


def _blocks(text: str) -> Iterator[TextSpan]:
    """Paragraphs, headings and fenced blocks, without blank lines around them."""
    start, at, fence = None, 0, ""
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark.group(1)
        elif mark and fence and line.strip().startswith(fence):
            fence = ""
        alone = not fence and _HEADING.match(line) is not None
        if start is not None and (alone or (not fence and not line.strip())):
            yield _stripped(text, start, at)
            start = None
        if alone:
            yield _stripped(text, at, at + len(line))
        elif start is None and line.strip():
            start = at
        at += len(line)
    if start is not None:
        yield _stripped(text, start, at)


def _stripped(text: str, start: int, end: int) -> TextSpan:
    """The span without the space at its end; indentation at its start can mean something."""
    return start, start + len(text[start:end].rstrip())


def _split_block(text: str, start: int, end: int, size: int) -> Iterator[TextSpan]:
    while end - start > size:
        cut, following = _last_break(text, start, start + size)
        if text[start:cut].strip():
            yield _stripped(text, start, cut)
        start = following
    if text[start:end].strip():
        yield start, end


def _last_break(text: str, start: int, limit: int) -> TextSpan:
    """Where a piece ends and the next begins: around the last break of its second half."""
    for breaks in (_SENTENCE, _SPACE):
        # A break that ends where this piece starts splits nothing.
        half = breaks.finditer(text, start + (limit - start) // 2, limit)
        matches = [match for match in half if match.end() > start]
        if matches:
            return matches[-1].start(), matches[-1].end()
    return limit, limit
