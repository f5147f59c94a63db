"""Making the plan: de-duplicate, count where needed, cut to the budget, group by query.

`plan_steps` asks for tokens of prompt parts; who answers (a tokenizer, a server, an estimate) is
the caller's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ..errors import TooLongError
from .batching import portions
from .plan import Cut, Limits, Passage, Plan, Query
from .prompt import document_part, neutralise, original_offsets, query_part, replace_surrogates
from .steps import NeedTokens, TokenSteps, side_by_side
from .tokens import token_ceiling
from .truncation import CHARACTERS_PER_TOKEN, Piece, fit_prefix, windows
from .validation import Pair

Planning = TokenSteps[Plan]
Ids = dict[str, tuple[int, ...]]

# A window of fewer tokens says nothing, and could be smaller than one character.
SMALLEST_WINDOW: Final = 16
# Bounds on the memory that one question's answer takes, not tuned numbers.
_TEXTS_AT_ONCE: Final = 1024
_CHARACTERS_AT_ONCE: Final = 1_000_000
_FITS_AT_ONCE: Final = 64


@dataclass(frozen=True, slots=True)
class _Job:
    """One distinct pair: its query, its document as passed and neutralised, its first input."""

    at: int
    query: Query
    document: str
    text: str
    index: int
    counted: bool


def plan_steps(pairs: Sequence[Pair], instruction: str, limits: Limits) -> Planning:
    """The plan for checked `pairs`; asks for the tokens of prompt parts.

    Raises:
        TooLongError: a query leaves no room for a document, or a document is too long and
            `overflow` is "error".
    """
    queries = _queries(pairs, instruction, limits)
    jobs = _jobs(pairs, queries, limits)
    known = yield from _count(jobs.values(), limits)
    passages: list[Passage] = []
    chosen: dict[Pair, tuple[int, ...]] = {}
    fits = [_fit(job, known, limits) for job in jobs.values()]
    fitted = yield from side_by_side(fits, _FITS_AT_ONCE)
    for pair, made in zip(jobs, fitted, strict=True):
        chosen[pair] = tuple(range(len(passages), len(passages) + len(made)))
        passages += made
    plan = Plan(
        tuple(replace(query, ids=known.get(query.part)) for query in queries.values()),
        tuple(passages),
        tuple(chosen[pair] for pair in pairs),
        limits.neutralise,
    )
    return _without_ids(plan) if limits.counting == "never" else plan


def _queries(pairs: Sequence[Pair], instruction: str, limits: Limits) -> dict[str, Query]:
    """Each distinct query, in order of appearance, by its text as passed."""
    task = _clean(instruction, limits)
    made: dict[str, Query] = {}
    for text in dict.fromkeys(query for query, _ in pairs):
        query = _clean(text, limits)
        made[text] = Query(query, task, query_part(task, query))
    return made


def _clean(text: str, limits: Limits) -> str:
    return neutralise(text) if limits.neutralise else replace_surrogates(text)


def _jobs(pairs: Sequence[Pair], queries: dict[str, Query], limits: Limits) -> dict[Pair, _Job]:
    """Each distinct pair, grouped by query."""
    place = {text: at for at, text in enumerate(queries)}
    first: dict[Pair, int] = {}
    for index, pair in enumerate(pairs):
        first.setdefault(pair, index)
    made: dict[Pair, _Job] = {}
    for pair in sorted(first, key=lambda pair: place[pair[0]]):
        query, text = queries[pair[0]], _clean(pair[1], limits)
        counted = _must_count(query, text, limits)
        made[pair] = _Job(place[pair[0]], query, pair[1], text, first[pair], counted)
    return made


def _must_count(query: Query, text: str, limits: Limits) -> bool:
    """Whether this pair's tokens are needed, to be sent or to know that it fits."""
    if limits.counting == "always" or limits.max_length is None:
        return limits.counting == "always"
    # Counting a 2 MB document's bytes to learn what its length already says would be waste.
    if len(text) > limits.max_length:
        return True
    return token_ceiling(query.part) + token_ceiling(document_part(text)) > limits.max_length


def _count(jobs: Iterable[_Job], limits: Limits) -> TokenSteps[Ids]:
    """Tokens of the query parts, of the empty document and of all documents but huge ones."""
    wanted: dict[str, None] = {}
    for job in jobs:
        if job.counted:
            wanted[job.query.part] = wanted[document_part("")] = None
            if not _is_huge(job.text, limits):
                wanted[document_part(job.text)] = None
    known: Ids = {}
    texts = list(wanted)
    sizes = [len(text) for text in texts]
    for portion in portions(sizes, max_count=_TEXTS_AT_ONCE, max_tokens=_CHARACTERS_AT_ONCE):
        asked = [texts[at] for at in portion]
        encodings = yield NeedTokens(asked)
        known |= {text: tuple(one.ids) for text, one in zip(asked, encodings, strict=True)}
    return known


def _is_huge(text: str, limits: Limits) -> bool:
    """Whether a document is measured from its head only."""
    return limits.max_length is not None and len(text) > limits.max_length * CHARACTERS_PER_TOKEN


def _fit(job: _Job, known: Ids, limits: Limits) -> TokenSteps[list[Passage]]:
    """The passages of one document: itself if it fits, else what `overflow` makes of it."""
    ids = known.get(document_part(job.text))
    whole = Passage(job.at, job.text, (0, len(job.document)), ids)
    if not job.counted or limits.max_length is None:
        return [whole]
    room = _room(job.query, known, limits, limits.max_length)
    if ids is not None and len(ids) <= room:
        return [whole]
    if limits.overflow == "window":
        _check_window(room, len(known[document_part("")]), job, limits)
        pieces = yield from windows(job.text, room, limits.window_overlap)
    else:
        pieces = [(yield from fit_prefix(job.text, room))]
    if pieces[0].end == len(job.text):
        return [replace(whole, ids=pieces[0].ids)]
    if limits.overflow == "error":
        raise TooLongError(
            f"documents[{job.index}] does not fit: its prompt has more than max_length, "
            f"{limits.max_length} tokens. Shorten it, split it, or use overflow='truncate' or "
            "'window'.",
            index=job.index,
        )
    return _passages(job, pieces, limits)


def _room(query: Query, known: Ids, limits: Limits, max_length: int) -> int:
    """Tokens left for the document part, at least those of an empty one."""
    used, empty = len(known[query.part]), len(known[document_part("")])
    if used + empty > max_length:
        about = "about " if limits.counting == "never" else ""
        raise TooLongError(
            f"The query with its instruction and the template needs {about}{used + empty} tokens "
            f"of the {max_length} that a prompt may have, which leaves no room for a "
            "document. Shorten the query or the instruction, or raise max_length."
        )
    return max_length - used


def _check_window(room: int, empty: int, job: _Job, limits: Limits) -> None:
    needed = max(SMALLEST_WINDOW, 2 * limits.window_overlap)
    if room - empty < needed:
        raise TooLongError(
            f"documents[{job.index}] does not fit, and max_length {limits.max_length} leaves "
            f"{room - empty} tokens for a window of it. A window needs {needed}: at least "
            f"{SMALLEST_WINDOW}, and twice its overlap of {limits.window_overlap}. Raise "
            "max_length or lower window_overlap.",
            index=job.index,
        )


def _passages(job: _Job, pieces: Sequence[Piece], limits: Limits) -> list[Passage]:
    starts, ends = [piece.start for piece in pieces], [piece.end for piece in pieces]
    if limits.neutralise:
        starts, ends = (original_offsets(job.document, offsets) for offsets in (starts, ends))
    # Windows cover the whole document, so that nothing of it is cut away.
    cut: Cut = "no" if limits.overflow == "window" else "exact"
    return [
        Passage(job.at, piece.text, span, piece.ids, cut)
        for piece, span in zip(pieces, zip(starts, ends, strict=True), strict=True)
    ]


def _without_ids(plan: Plan) -> Plan:
    """The plan of an estimate: its made-up ids dropped, its cuts and windows marked."""
    windows = {window for chosen in plan.inputs if len(chosen) > 1 for window in chosen}
    passages = tuple(
        replace(
            passage,
            ids=None,
            cut="no" if passage.cut == "no" and at not in windows else "estimated",
        )
        for at, passage in enumerate(plan.passages)
    )
    queries = tuple(replace(query, ids=None) for query in plan.queries)
    return replace(plan, queries=queries, passages=passages)
