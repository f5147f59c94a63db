"""Making the plan: de-duplicate, count where needed, truncate to the budget, group by query.

`plan_steps` asks for the tokens of prompt parts; the caller provides them, from a tokenizer, a
server or an estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ..errors import TooLongError
from .batching import portions
from .plan import Cut, Limits, Passage, Plan, Query
from .prompt import document_part, neutralise, original_offsets, query_part, replace_surrogates
from .steps import NeedTokens, TokenSteps, side_by_side
from .tokens import TokenIds, may_exceed, token_ceiling
from .truncation import CHARACTERS_PER_TOKEN, Piece, fit_prefix, windows
from .validation import Pair

Planning = TokenSteps[Plan]
IdsByText = dict[str, TokenIds]

# A window of fewer tokens is too short to judge, and could be smaller than one character.
SMALLEST_WINDOW: Final = 16
# Bounds on the memory that one reply takes, not tuned numbers.
_PARTS_AT_ONCE: Final = 1024
_CHARACTERS_AT_ONCE: Final = 1_000_000
_FITS_AT_ONCE: Final = 64


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A distinct pair of a query and a document, whose tokens must be counted.

    Attributes:
        query: its query.
        document: its document as passed.
        whole: the passage that it is if it fits.
        index: position of the first such pair in the input.
    """

    query: Query
    document: str
    whole: Passage
    index: int


def plan_steps(pairs: Sequence[Pair], instruction: str, limits: Limits) -> Planning:
    """The plan for checked `pairs`; asks for the tokens of prompt parts.

    Raises:
        TooLongError: a query leaves no room for a document, or a document is too long and
            `overflow` is "error".
    """
    queries = _queries(pairs, instruction, limits)
    wholes = _wholes(pairs, queries, limits)
    candidates = _candidates(wholes, pairs, queries, limits)
    ids_by_text = yield from _encode_parts(candidates.values(), limits)
    fits = [_fit(candidate, ids_by_text, limits) for candidate in candidates.values()]
    passage_lists = yield from side_by_side(fits, _FITS_AT_ONCE)
    fitted = dict(zip(candidates, passage_lists, strict=True))
    passages: list[Passage] = []
    positions: dict[Pair, tuple[int, ...]] = {}
    for pair, whole in wholes.items():
        own_passages = fitted.get(pair)
        if own_passages is None:
            positions[pair] = (len(passages),)
            passages.append(whole)
        else:
            positions[pair] = tuple(range(len(passages), len(passages) + len(own_passages)))
            passages += own_passages
    plan = Plan(
        tuple([replace(query, ids=ids_by_text.get(query.part)) for query in queries.values()]),
        tuple(passages),
        tuple([positions[pair] for pair in pairs]),
        limits.neutralise,
    )
    return _without_ids(plan) if limits.counting == "never" else plan


def _queries(pairs: Sequence[Pair], instruction: str, limits: Limits) -> dict[str, Query]:
    """Each distinct query, in order of appearance, by its text as passed."""
    sanitise = _sanitiser(limits)
    task = sanitise(instruction)
    queries: dict[str, Query] = {}
    for text in dict.fromkeys([query for query, _ in pairs]):
        query = sanitise(text)
        queries[text] = Query(query, task, query_part(task, query))
    return queries


def _sanitiser(limits: Limits) -> Callable[[str], str]:
    return neutralise if limits.neutralise else replace_surrogates


def _wholes(
    pairs: Sequence[Pair], queries: dict[str, Query], limits: Limits
) -> dict[Pair, Passage]:
    """Each distinct pair, grouped by query, as the passage that it is if it fits."""
    sanitise = _sanitiser(limits)
    groups: dict[str, dict[Pair, None]] = {query: {} for query in queries}
    for pair in pairs:
        groups[pair[0]][pair] = None
    return {
        pair: Passage(position, sanitise(pair[1]), (0, len(pair[1])))
        for position, group in enumerate(groups.values())
        for pair in group
    }


def _candidates(
    wholes: dict[Pair, Passage], pairs: Sequence[Pair], queries: dict[str, Query], limits: Limits
) -> dict[Pair, _Candidate]:
    """Those whose tokens are needed, to be sent or to decide whether they fit."""
    counted = _counted(wholes, queries, limits)
    if not counted:
        return {}
    indexes: dict[Pair, int] = {}
    for index, pair in enumerate(pairs):
        indexes.setdefault(pair, index)
    return {
        pair: _Candidate(queries[pair[0]], pair[1], wholes[pair], indexes[pair]) for pair in counted
    }


def _counted(wholes: dict[Pair, Passage], queries: dict[str, Query], limits: Limits) -> list[Pair]:
    if limits.counting == "always":
        return list(wholes)
    if limits.max_length is None:
        return []
    used = token_ceiling(document_part(""))
    rooms = [limits.max_length - used - token_ceiling(query.part) for query in queries.values()]
    return [pair for pair, whole in wholes.items() if may_exceed(whole.text, rooms[whole.query])]


def _encode_parts(candidates: Iterable[_Candidate], limits: Limits) -> TokenSteps[IdsByText]:
    """Tokens of the query parts, of the empty document and of all documents but huge ones."""
    parts: dict[str, None] = {}
    for candidate in candidates:
        parts[candidate.query.part] = parts[document_part("")] = None
        if not _is_huge(candidate.whole.text, limits):
            parts[candidate.whole.part] = None
    ids_by_text: IdsByText = {}
    texts = list(parts)
    sizes = [len(text) for text in texts]
    for portion in portions(sizes, max_count=_PARTS_AT_ONCE, max_tokens=_CHARACTERS_AT_ONCE):
        batch = [texts[position] for position in portion]
        encodings = yield NeedTokens(batch)
        ids_by_text |= {
            text: tuple(encoding.ids) for text, encoding in zip(batch, encodings, strict=True)
        }
    return ids_by_text


def _is_huge(text: str, limits: Limits) -> bool:
    """Whether only the head of a document is counted."""
    return limits.max_length is not None and len(text) > limits.max_length * CHARACTERS_PER_TOKEN


def _fit(
    candidate: _Candidate, ids_by_text: IdsByText, limits: Limits
) -> TokenSteps[list[Passage]]:
    """The passages of one document: itself if it fits, else what `overflow` makes of it."""
    text = candidate.whole.text
    ids = ids_by_text.get(candidate.whole.part)
    whole = replace(candidate.whole, ids=ids)
    if limits.max_length is None:
        return [whole]
    budget = _document_budget(candidate.query, ids_by_text, limits, limits.max_length)
    if ids is not None and len(ids) <= budget:
        return [whole]
    if limits.overflow == "window":
        _check_window(budget, len(ids_by_text[document_part("")]), candidate, limits)
        pieces = yield from windows(text, budget, limits.window_overlap)
    else:
        pieces = [(yield from fit_prefix(text, budget))]
    if pieces[0].end == len(text):
        return [replace(whole, ids=pieces[0].ids)]
    if limits.overflow == "error":
        raise TooLongError(
            f"documents[{candidate.index}] does not fit: its prompt has more than max_length, "
            f"{limits.max_length} tokens. Shorten it, split it, or use overflow='truncate' or "
            "'window'.",
            index=candidate.index,
        )
    return _passages(candidate, pieces, limits)


def _document_budget(query: Query, ids_by_text: IdsByText, limits: Limits, max_length: int) -> int:
    """Tokens left for the document part, at least those of an empty one."""
    used, empty = len(ids_by_text[query.part]), len(ids_by_text[document_part("")])
    if used + empty > max_length:
        about = "about " if limits.counting == "never" else ""
        raise TooLongError(
            f"The query with its instruction and the template needs {about}{used + empty} tokens "
            f"of the {max_length} that a prompt may have, which leaves no room for a "
            "document. Shorten the query or the instruction, or raise max_length."
        )
    return max_length - used


def _check_window(budget: int, empty: int, candidate: _Candidate, limits: Limits) -> None:
    needed = max(SMALLEST_WINDOW, 2 * limits.window_overlap)
    if budget - empty < needed:
        raise TooLongError(
            f"documents[{candidate.index}] does not fit, and max_length {limits.max_length} leaves "
            f"{budget - empty} tokens for a window of it. A window needs {needed}: at least "
            f"{SMALLEST_WINDOW}, and twice its overlap of {limits.window_overlap}. Raise "
            "max_length or lower window_overlap.",
            index=candidate.index,
        )


def _passages(candidate: _Candidate, pieces: Sequence[Piece], limits: Limits) -> list[Passage]:
    starts, ends = [piece.start for piece in pieces], [piece.end for piece in pieces]
    if limits.neutralise:
        starts, ends = (original_offsets(candidate.document, offsets) for offsets in (starts, ends))
    # Windows cover the whole document, so that nothing of it is truncated.
    cut: Cut = "no" if limits.overflow == "window" else "exact"
    return [
        Passage(candidate.whole.query, piece.text, span, piece.ids, cut)
        for piece, span in zip(pieces, zip(starts, ends, strict=True), strict=True)
    ]


def _without_ids(plan: Plan) -> Plan:
    """The plan of an estimate: without its placeholder ids, its cuts and windows marked."""
    windows = {
        position for positions in plan.inputs if len(positions) > 1 for position in positions
    }
    passages = tuple(
        replace(
            passage,
            ids=None,
            cut="no" if passage.cut == "no" and position not in windows else "estimated",
        )
        for position, passage in enumerate(plan.passages)
    )
    queries = tuple(replace(query, ids=None) for query in plan.queries)
    return replace(plan, queries=queries, passages=passages)
