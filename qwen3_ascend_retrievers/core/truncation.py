"""How much of a document fits: the longest prefix, or overlapping windows.

Texts here are neutralised, and truncated only between code points; each truncated text is encoded
again, because slicing token ids can split a character and change the tokens around it
(docs/decisions/5-parity.md). Functions are `Steps` that ask for the tokens of document parts.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .prompt import SUFFIX, document_part
from .steps import NeedTokens, TokenSteps
from .tokens import TokenIds

Fitting = TokenSteps["Piece"]
Windows = TokenSteps["list[Piece]"]

# English text has between four and five characters a token: a head of as many characters per token
# of the budget is nearly always long enough, and not much too long.
CHARACTERS_PER_TOKEN: Final = 8
_DOCUMENT_OFFSET: Final = len(document_part("")) - len(SUFFIX)
# Code points that may join into fewer tokens than their beginning has, such as a Hangul syllable
# in three letters, are tried together up to this length.
_LOOKAHEAD: Final = 8
# Where a window best ends, best first: lines, sentences, clauses, words. Each pattern includes the
# white space that follows, so that the next piece starts with a letter.
_BREAKS: Final = (
    re.compile(r"[\n\u2028\u2029]"),
    re.compile(r"[.!?…][\"'”’)\]]*\s|[。！？][\"”’」』）]*"),
    re.compile(r"[,;:]\s|[，；：、]"),
    re.compile(r"\s"),
)
_WORD: Final = re.compile(r"(?<=\s)\S")


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a document: its text, its position and its tokens.

    Attributes:
        text: code points [start, end) of the neutralised document.
        ids: token ids of the whole document part, suffix included.
        offsets: for each id what it covers of the document part; empty if unknown.
    """

    text: str
    start: int
    end: int
    ids: TokenIds
    offsets: Sequence[tuple[int, int]] = ()


def fit_prefix(text: str, budget: int, start: int = 0) -> Fitting:
    """The longest piece of `text` from `start` whose document part has at most `budget` tokens.

    At most one token shorter than the longest that fits. `budget` must hold the empty document.
    """
    best = longer = yield from _head(text, budget, start, budget * CHARACTERS_PER_TOKEN)
    while len(best.ids) > budget and best.text:
        longer = best
        best = yield from _piece(text, start, start + _truncated_length(longer, budget))
    # With offsets the length is right at once; without them it is a guess, narrowed down here.
    while len(best.ids) < budget - 1 and longer.end - best.end > _LOOKAHEAD:
        middle = yield from _piece(text, start, (best.end + longer.end) // 2)
        if len(middle.ids) <= budget:
            best = middle
        else:
            longer = middle
    if len(best.ids) >= budget - 1 or best.end == len(text):
        return best
    return (yield from _extended(text, budget, best))


def windows(text: str, budget: int, overlap: int) -> Windows:
    """Pieces that cover `text`, each within `budget`, neighbours sharing up to `overlap` tokens.

    A piece ends at the last line end of its last third, else at a sentence end there, a comma, a
    space, else where the budget ends. What two pieces share starts with a word where one starts in
    the first half of it. `budget` must hold the document part of any one character, and `overlap`
    is at most half of it.
    """
    pieces: list[Piece] = []
    start = covered = 0
    length = budget * CHARACTERS_PER_TOKEN
    while True:
        piece = yield from _window(text, budget, start, covered, length)
        pieces.append(piece)
        if piece.end == len(text):
            return pieces
        start, covered = _next_start(text, piece, overlap), piece.end
        # A quarter more than the last window's density suggests saves encoding a long head.
        length = 64 + len(piece.text) * budget * 5 // (len(piece.ids) * 4)


def _window(text: str, budget: int, start: int, covered: int, length: int) -> Fitting:
    piece = yield from _head(text, budget, start, length)
    while len(piece.ids) > budget and len(piece.text) > 1:
        size = max(1, _truncated_length(piece, budget))
        end = _best_break(text, max(covered, start + size * 2 // 3), start + size)
        piece = yield from _piece(text, start, end)
    return piece


def _head(text: str, budget: int, start: int, length: int) -> Fitting:
    """A piece of at least `length` code points that is over the budget, or all of the rest."""
    while True:
        piece = yield from _piece(text, start, min(len(text), start + length))
        if len(piece.ids) > budget or piece.end == len(text):
            return piece
        length *= 4


def _piece(text: str, start: int, end: int) -> Fitting:
    (encoding,) = yield NeedTokens([document_part(text[start:end])])
    return Piece(text[start:end], start, end, tuple(encoding.ids), encoding.offsets)


def _truncated_length(piece: Piece, budget: int) -> int:
    """How many code points of a piece that is over the budget should fit; fewer than it has."""
    fewer = len(piece.text) - 1
    if not piece.offsets:
        return fewer * budget // len(piece.ids)
    # The suffix counts against the budget, so the document is truncated as many tokens earlier.
    first_dropped = budget - (len(piece.ids) - _suffix_position(piece))
    # A character of several tokens is never split.
    end = min(piece.offsets[first_dropped - 1][1], piece.offsets[first_dropped][0])
    return max(0, min(end - _DOCUMENT_OFFSET, fewer))


def _suffix_position(piece: Piece) -> int:
    """The number of tokens before the suffix."""
    return bisect_left(piece.offsets, (_DOCUMENT_OFFSET + len(piece.text), 0))


def _extended(text: str, budget: int, best: Piece) -> Fitting:
    """`best`, or the longest of the next few longer pieces that fits."""
    ends = range(best.end + 1, min(len(text), best.end + _LOOKAHEAD) + 1)
    encodings = yield NeedTokens([document_part(text[best.start : end]) for end in ends])
    for end, encoding in zip(ends, encodings, strict=True):
        if len(encoding.ids) <= budget:
            ids = tuple(encoding.ids)
            best = Piece(text[best.start : end], best.start, end, ids, encoding.offsets)
    return best


def _best_break(text: str, earliest: int, latest: int) -> int:
    """The last end of the best kind of break between the two places, or else `latest`."""
    for pattern in _BREAKS:
        # One character more is searched: a break may lie right before it.
        ends = [match.end() for match in pattern.finditer(text, earliest, latest + 1)]
        if ends:
            return min(ends[-1], latest)
    return latest


def _next_start(text: str, piece: Piece, overlap: int) -> int:
    """Where the next window starts: up to `overlap` tokens back, and well past `piece`'s start."""
    if piece.offsets:
        first_shared = max(0, _suffix_position(piece) - overlap)
        length = piece.offsets[first_shared][0] - _DOCUMENT_OFFSET
    else:
        length = len(piece.text) - len(piece.text) * overlap // len(piece.ids)
    start = piece.start + max(1, len(piece.text) // 4, length)
    word = _WORD.search(text, start, (start + piece.end) // 2)
    return word.start() if word else start
