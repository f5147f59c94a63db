"""How much of a document fits: the longest prefix, or overlapping windows.

Texts here are neutralised, and cut only at code points; each cut is encoded again, because
slicing token ids can split a character and change the tokens around it (DESIGN rule 3).
Functions are `Steps` that ask for the tokens of document parts.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .prompt import SUFFIX, document_part
from .steps import NeedTokens, TokenSteps

Fitting = TokenSteps["Piece"]
Windows = TokenSteps["list[Piece]"]

# English text has between four and five characters a token: a head of as many characters per token
# of the budget is nearly always long enough, and not much too long.
CHARACTERS_PER_TOKEN: Final = 8
_LEAD: Final = len(document_part("")) - len(SUFFIX)
# Code points that may join into fewer tokens than their beginning has, such as a Hangul syllable
# in three letters, are tried together up to this length.
_REACH: Final = 8
# Where a window best ends, best first: lines, sentences, clauses, words. Each pattern takes in the
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
    """Part of a document: its text, where it stands, and its tokens.

    Attributes:
        text: code points [start, end) of the neutralised document.
        ids: token ids of the whole document part, suffix included.
        offsets: for each id what it covers of the document part; empty if nobody can tell.
    """

    text: str
    start: int
    end: int
    ids: tuple[int, ...]
    offsets: Sequence[tuple[int, int]] = ()


def fit_prefix(text: str, budget: int, start: int = 0) -> Fitting:
    """The longest piece of `text` from `start` whose document part has at most `budget` tokens.

    At most one token shorter than the longest that fits. `budget` must hold the empty document.
    """
    best = longer = yield from _head(text, budget, start, budget * CHARACTERS_PER_TOKEN)
    while len(best.ids) > budget and best.text:
        longer = best
        best = yield from _piece(text, start, start + _cut(longer, budget))
    # With offsets the cut is right at once; without them it was a guess, narrowed down here.
    while len(best.ids) < budget - 1 and longer.end - best.end > _REACH:
        middle = yield from _piece(text, start, (best.end + longer.end) // 2)
        if len(middle.ids) <= budget:
            best = middle
        else:
            longer = middle
    if len(best.ids) >= budget - 1 or best.end == len(text):
        return best
    return (yield from _reach_on(text, budget, best))


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
        # A fourth more than the last window's density suggests saves encoding a long head.
        length = 64 + len(piece.text) * budget * 5 // (len(piece.ids) * 4)


def _window(text: str, budget: int, start: int, covered: int, length: int) -> Fitting:
    piece = yield from _head(text, budget, start, length)
    while len(piece.ids) > budget and len(piece.text) > 1:
        size = max(1, _cut(piece, budget))
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
    (one,) = yield NeedTokens([document_part(text[start:end])])
    return Piece(text[start:end], start, end, tuple(one.ids), one.offsets)


def _cut(piece: Piece, budget: int) -> int:
    """How many code points of a piece that is over the budget should fit; fewer than it has."""
    fewer = len(piece.text) - 1
    if not piece.offsets:
        return fewer * budget // len(piece.ids)
    # The suffix stays, so the first token to go is as far from the end of what may stay.
    first_gone = budget - (len(piece.ids) - _suffix_at(piece))
    # A character of several tokens stays whole or goes whole.
    end = min(piece.offsets[first_gone - 1][1], piece.offsets[first_gone][0])
    return max(0, min(end - _LEAD, fewer))


def _suffix_at(piece: Piece) -> int:
    """The number of tokens before the suffix."""
    return bisect_left(piece.offsets, (_LEAD + len(piece.text), 0))


def _reach_on(text: str, budget: int, best: Piece) -> Fitting:
    """`best`, or the longest of the next few longer pieces that fits."""
    ends = range(best.end + 1, min(len(text), best.end + _REACH) + 1)
    encodings = yield NeedTokens([document_part(text[best.start : end]) for end in ends])
    for end, one in zip(ends, encodings, strict=True):
        if len(one.ids) <= budget:
            best = Piece(text[best.start : end], best.start, end, tuple(one.ids), one.offsets)
    return best


def _best_break(text: str, earliest: int, latest: int) -> int:
    """The last end of the best kind of break between the two places, or else `latest`."""
    for pattern in _BREAKS:
        # One character more is looked at: a break may lie right before it.
        found = [match.end() for match in pattern.finditer(text, earliest, latest + 1)]
        if found:
            return min(found[-1], latest)
    return latest


def _next_start(text: str, piece: Piece, overlap: int) -> int:
    """Where the next window starts: up to `overlap` tokens back, and well past `piece`'s start."""
    if piece.offsets:
        first_shared = max(0, _suffix_at(piece) - overlap)
        at = piece.offsets[first_shared][0] - _LEAD
    else:
        at = len(piece.text) - len(piece.text) * overlap // len(piece.ids)
    start = piece.start + max(1, len(piece.text) // 4, at)
    word = _WORD.search(text, start, (start + piece.end) // 2)
    return word.start() if word else start
