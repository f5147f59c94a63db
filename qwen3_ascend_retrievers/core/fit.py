"""How much of a document fits: the longest prefix, or overlapping windows.

Texts here are neutralised, and cut only at code points; each cut is encoded again, because
slicing token ids can split a character and change the tokens around it (DESIGN rule 3).
Functions are `Steps` that ask for the tokens of document parts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .prompt import SUFFIX, document_part
from .steps import Steps
from .tokens import Encoding

Fitting = Steps[list[str], Sequence[Encoding], "Piece"]
Windows = Steps[list[str], Sequence[Encoding], "list[Piece]"]

_LEAD: Final = len(document_part("")) - len(SUFFIX)
# English text has about four characters a token; a head of twice that is nearly always enough.
_CHARACTERS_PER_TOKEN: Final = 8
# The longest run of code points that is worth trying to add after a cut at a token's end.
_REACH: Final = 8
_BREAKS: Final = re.compile(r"\n+|(?<=[.!?…。！？])[\s\"'”’)\]]*|(?<=[,;:，；：、])\s*|\s+")


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a document that fits: its text, where it stands, and its tokens.

    Attributes:
        text: code points [start, end) of the neutralised document.
        ids: token ids of the whole document part, suffix included.
    """

    text: str
    start: int
    end: int
    ids: tuple[int, ...]


def fit_prefix(text: str, budget: int, start: int = 0) -> Fitting:
    """The longest piece of `text` from `start` whose document part has at most `budget` tokens.

    At most one token shorter than the longest that fits. `budget` must hold the empty document.
    """
    guess = yield from _cut_by_offsets(text, budget, start)
    lowest, end = start, guess
    best = yield from _piece(text, start, end)
    while len(best.ids) > budget and end > lowest:
        # Re-encoding rarely adds a token or two; each step back frees at least one sometimes.
        end -= max(1, (len(best.ids) - budget) // 2)
        best = yield from _piece(text, start, max(end, lowest))
    return (yield from _reach_on(text, budget, best))


def _reach_on(text: str, budget: int, best: Piece) -> Fitting:
    """`best`, or the longest of the next few longer pieces that still fits."""
    ends = range(best.end + 1, min(len(text), best.end + _REACH) + 1)
    if not ends:
        return best
    parts = [document_part(text[best.start : end]) for end in ends]
    encodings = yield parts
    for end, encoding in zip(ends, encodings, strict=True):
        if len(encoding.ids) <= budget:
            best = Piece(text[best.start : end], best.start, end, tuple(encoding.ids))
    return best


def _piece(text: str, start: int, end: int) -> Fitting:
    (encoding,) = yield [document_part(text[start:end])]
    return Piece(text[start:end], start, end, tuple(encoding.ids))


def _cut_by_offsets(text: str, budget: int, start: int) -> Steps[
    list[str], Sequence[Encoding], int
]:
    """Where the text's tokens reach the budget, from as short a head of it as will do."""
    (empty,) = yield [document_part("")]
    room = budget - len(empty.ids)
    length = max(64, room * _CHARACTERS_PER_TOKEN)
    while True:
        head = text[start : start + length]
        (encoding,) = yield [document_part(head)]
        over = len(encoding.ids) - budget
        if over > 0 or start + length >= len(text):
            break
        length *= 4
    if over <= 0:
        return start + len(head)
    if not encoding.offsets:
        return start + len(head) * max(0, room) // max(1, len(encoding.ids) - len(empty.ids))
    suffix = sum(at >= _LEAD for at, _ in empty.offsets)
    last_kept = len(encoding.ids) - suffix - over - 1
    return start + min(len(head), max(0, encoding.offsets[max(0, last_kept)][1] - _LEAD))


def windows(text: str, budget: int, overlap: int) -> Windows:
    """Pieces that cover `text`, each within `budget`, neighbours sharing about `overlap` tokens.

    A piece ends at a line or sentence end where the last third of it has one, else at a space,
    else where the budget ends.
    """
    pieces: list[Piece] = []
    start = 0
    while True:
        piece = yield from fit_prefix(text, budget, start)
        if piece.end < len(text):
            piece = yield from _end_at_a_break(text, budget, piece)
        pieces.append(piece)
        if piece.end >= len(text):
            return pieces
        start = _next_start(text, piece, overlap)


def _end_at_a_break(text: str, budget: int, piece: Piece) -> Fitting:
    """`piece`, shortened to the best break in its last third, if that still fits."""
    end = _best_break(text, piece.start + len(piece.text) * 2 // 3, piece.end)
    if end is None or end == piece.end:
        return piece
    shorter = yield from _piece(text, piece.start, end)
    return shorter if len(shorter.ids) <= budget else piece


def _best_break(text: str, earliest: int, latest: int) -> int | None:
    """The last line end in the range, else the last sentence end, comma or space."""
    found: dict[int, int] = {}
    for match in _BREAKS.finditer(text, earliest, latest):
        found[_rank(text, match)] = match.end()
    return found[min(found)] if found else None


def _rank(text: str, match: re.Match[str]) -> int:
    if "\n" in match.group():
        return 0
    before = text[match.start() - 1 : match.start()]
    if before in set(".!?…。！？"):
        return 1
    return 2 if before in set(",;:，；：、") else 3


def _next_start(text: str, piece: Piece, overlap: int) -> int:
    """Where the next window starts: `overlap` tokens back, at a space, always further on."""
    tokens = max(1, len(piece.ids))
    back = min(len(piece.text) // 2, len(piece.text) * overlap // tokens)
    start = piece.end - back
    space = re.compile(r"\s\S").search(text, start, piece.end)
    if space is not None:
        start = space.start() + 1
    return max(start, piece.start + 1)
