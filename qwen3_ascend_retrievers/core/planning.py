"""Making the plan: de-duplicate, count where needed, cut to the budget, group by query.

`plan_steps` asks for tokens of prompt parts; who answers (a tokenizer, a server, an estimate) is
the caller's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..errors import TooLongError
from .fit import Piece, fit_prefix, windows
from .inputs import Pair
from .plan import Limits, Passage, Plan, Query
from .prompt import document_part, neutralise, original_offset, query_part
from .steps import Steps
from .tokens import Encoding, token_ceiling

Planning = Steps[list[str], Sequence[Encoding], Plan]
Ids = dict[str, tuple[int, ...]]

# A window of fewer tokens says nothing, and could be smaller than one character.
SMALLEST_WINDOW = 16
# Documents of more characters than this per token of the budget are measured from their head.
_LONG = 16


def plan_steps(pairs: Sequence[Pair], instruction: str, limits: Limits) -> Planning:
    """The plan for checked `pairs`; asks for the tokens of prompt parts.

    Raises:
        TooLongError: a query leaves no room for a document, or a document is too long and
            `overflow` is "error".
    """
    texts = list(dict.fromkeys(query for query, _ in pairs))
    queries = [_query(text, instruction) for text in texts]
    number = {text: at for at, text in enumerate(texts)}
    unique = sorted(dict.fromkeys(pairs), key=lambda pair: number[pair[0]])
    doubtful = [pair for pair in unique if _must_count(queries[number[pair[0]]], pair[1], limits)]
    known = yield from _count(queries, number, doubtful, limits)
    queries = [replace(query, ids=known.get(query.part)) for query in queries]
    first = {pair: at for at, pair in reversed(list(enumerate(pairs)))}
    passages: list[Passage] = []
    chosen: dict[Pair, tuple[int, ...]] = {}
    counted = frozenset(doubtful)
    for pair in unique:
        at = number[pair[0]]
        begin = len(passages)
        if pair in counted:
            passages += yield from _fit(at, queries[at], pair[1], known, limits, first[pair])
        else:
            passages.append(Passage(at, neutralise(pair[1]), (0, len(pair[1]))))
        chosen[pair] = tuple(range(begin, len(passages)))
    plan = Plan(tuple(queries), tuple(passages), tuple(chosen[pair] for pair in pairs))
    return _without_ids(plan) if limits.counting == "never" else plan


def _query(text: str, instruction: str) -> Query:
    query, task = neutralise(text), neutralise(instruction)
    return Query(query, task, query_part(task, query))


def _must_count(query: Query, document: str, limits: Limits) -> bool:
    """Whether this pair's tokens are needed to know that it fits."""
    if limits.counting == "always":
        return True
    if limits.max_length is None:
        return False
    # Counting a 2 MB document's bytes to learn what its length already says would be waste.
    if len(document) > limits.max_length:
        return True
    part = document_part(neutralise(document))
    return token_ceiling(query.part) + token_ceiling(part) > limits.max_length


def _count(
    queries: Sequence[Query], number: dict[str, int], pairs: Iterable[Pair], limits: Limits
) -> Steps[list[str], Sequence[Encoding], Ids]:
    """Tokens of the query parts and of all documents but huge ones, asked for in one batch."""
    wanted: dict[str, None] = {}
    for query, document in pairs:
        wanted[queries[number[query]].part] = None
        if limits.max_length is None or len(document) <= limits.max_length * _LONG:
            wanted[document_part(neutralise(document))] = None
    if not wanted:
        return {}
    wanted[document_part("")] = None
    encodings = yield list(wanted)
    return {text: tuple(one.ids) for text, one in zip(wanted, encodings, strict=True)}


def _fit(
    at: int, query: Query, document: str, known: Ids, limits: Limits, index: int
) -> Steps[list[str], Sequence[Encoding], list[Passage]]:
    """The passages of one document: itself if it fits, else what `overflow` makes of it."""
    text = neutralise(document)
    whole = known.get(document_part(text))
    room = _room(query, known, limits)
    if whole is not None and (room is None or len(whole) <= room):
        return [Passage(at, text, (0, len(document)), whole)]
    assert room is not None, "without a limit every document was measured whole"
    if limits.overflow == "window":
        _check_window(room, len(known[document_part("")]), limits)
        pieces = yield from windows(text, room, limits.window_overlap)
    else:
        pieces = [(yield from fit_prefix(text, room))]
    fits = len(pieces) == 1 and pieces[0].end == len(text)
    if limits.overflow == "error" and not fits:
        raise TooLongError(
            f"documents[{index}] does not fit: its prompt exceeds max_length "
            f"{limits.max_length} tokens. Shorten it, split it, or use overflow='truncate' or "
            "'window'.",
            index=index,
        )
    return [_passage(at, piece, document, fits) for piece in pieces]


def _room(query: Query, known: Ids, limits: Limits) -> int | None:
    """Tokens left for the document part, at least those of an empty one; None if unlimited."""
    if limits.max_length is None:
        return None
    used, empty = len(known[query.part]), len(known[document_part("")])
    if used + empty > limits.max_length:
        about = "about " if limits.counting == "never" else ""
        raise TooLongError(
            f"The query with its instruction and the template needs {about}{used + empty} tokens "
            f"of the {limits.max_length} that a prompt may have, which leaves no room for a "
            "document. Shorten the query or the instruction, or raise max_length."
        )
    return limits.max_length - used


def _check_window(room: int, empty: int, limits: Limits) -> None:
    if room - empty < SMALLEST_WINDOW + limits.window_overlap:
        raise TooLongError(
            f"max_length {limits.max_length} leaves {room - empty} tokens for a window of a "
            f"document; a window needs {SMALLEST_WINDOW} and its overlap, "
            f"{limits.window_overlap}. Raise max_length or lower window_overlap."
        )


def _passage(at: int, piece: Piece, document: str, fits: bool) -> Passage:
    span = (original_offset(document, piece.start), original_offset(document, piece.end))
    return Passage(at, piece.text, span, piece.ids, "no" if fits else "exact")


def _without_ids(plan: Plan) -> Plan:
    """The plan of an estimate: its made-up ids dropped, its cuts marked."""
    passages = tuple(
        replace(passage, ids=None, cut="no" if passage.cut == "no" else "estimated")
        for passage in plan.passages
    )
    queries = tuple(replace(query, ids=None) for query in plan.queries)
    return replace(plan, queries=queries, passages=passages)
