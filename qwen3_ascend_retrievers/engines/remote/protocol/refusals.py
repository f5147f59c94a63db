"""What a server's refusal means: its status, and its words in any of the dialects.

All dialects' words are searched, whichever server is asked: gateways pass on what the server behind
them says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, Literal, NamedTuple

from .dialects.table import DIALECTS

RefusalKind = Literal[
    "final",
    "retry",
    "later",
    "too_long",
    "too_many",
    "busy",
    "unknown_model",
    "document",
    "wrong_key",
]
RETRIED_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
# These ask to retry later, and may be returned for a minute or more.
_LATER_STATUSES: Final = frozenset({429, 503})
# A server or a gateway may return these for a single text: empty, forbidden, filtered. A request
# with another text shows whether the text or the whole request is refused.
_DOCUMENT_STATUSES: Final = frozenset({400, 403, 406, 409, 415, 422, 451})
_SIZE_STATUSES: Final = frozenset({400, 413, 422})
_NAME_STATUSES: Final = frozenset({400, 404, 422})
# How much of an error body is searched: it may go on with the caller's own texts.
_SEARCHED: Final = 2000
# A limit that means something; what is longer is noise.
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
# SGLang's rerank route answers every failure with 400, and the status in its words.
_QUOTED_STATUS: Final = re.compile(r"(\d{3}): ")
# vLLM's words, older and newer, for a model that was loaded for another task.
_NO_RERANK: Final = re.compile(r"does not support (the )?(rerank|scor|classif)", re.IGNORECASE)


class Refusal(NamedTuple):
    """What a refusal means.

    Attributes:
        kind: see `http.failures.RequestFailure`.
        most: the limit that it names, in documents or tokens; None if it names none.
    """

    kind: RefusalKind
    most: int | None = None


def refusal_of(status: int, message: str, *, has_wait: bool) -> Refusal:
    """The meaning of an HTTP status outside 200-299.

    Args:
        status: of the reply.
        message: the error's.
        has_wait: whether the reply says when to come back.
    """
    words = message[:_SEARCHED]
    if _search("wrong_key", words):
        return Refusal("wrong_key")
    quoted = _QUOTED_STATUS.match(words) if status == 400 else None
    status = int(quoted[1]) if quoted else status
    if status in _SIZE_STATUSES and (matches := list(_matches("too_many", words, None))):
        return Refusal("too_many", _limit(matches))
    matches = list(_matches("too_long", words, status))
    if matches or status == 413:
        return Refusal("too_long", _limit(matches))
    if _search("busy", words, status):
        return Refusal("busy")
    if status in _LATER_STATUSES or (status in RETRIED_STATUSES and has_wait):
        return Refusal("later")
    if status in RETRIED_STATUSES:
        return Refusal("retry")
    if status in _NAME_STATUSES and _search("unknown_model", words):
        return Refusal("unknown_model")
    return Refusal("document" if status in _DOCUMENT_STATUSES else "final")


def does_not_rerank(message: str) -> bool:
    """Whether an error says that the served model was not loaded as a reranker."""
    return _NO_RERANK.search(message[:_SEARCHED]) is not None


def _search(what: str, words: str, status: int | None = None) -> bool:
    return next(_matches(what, words, status), None) is not None


def _matches(what: str, words: str, status: int | None) -> Iterator[re.Match[str]]:
    """Where the words of each dialect occur; with a status, of those that use them with it."""
    for dialect in DIALECTS.values():
        pattern: re.Pattern[str] | None = getattr(dialect.words, what)
        if pattern is None:
            continue
        if status is None or status in getattr(dialect.words, f"{what}_statuses"):
            yield from pattern.finditer(words)


def _limit(matches: Iterable[re.Match[str]]) -> int | None:
    """The limit that a refusal names, by whichever dialect's words find it."""
    groups = (group for match in matches for group in match.groups() if group)
    return next((int(group) for group in groups if _NUMBER.fullmatch(group)), None)
