"""What the adapters write into metadata next to a score, and how metadata is copied."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ..core.ranking import RankedDocument
    from ..core.results import Ranking

STATUS_KEY: Final = "rerank_status"
# The status of one document that has no score, in a ranking of others that have.
NOT_SCORED: Final = "not_scored"
NOTE_KEYS: Final = (
    STATUS_KEY,
    "rerank_index",
    "rerank_model",
    "rerank_error",
    "rerank_logit",
    "rerank_tokens",
    "rerank_span",
    "rerank_cut",
    "rerank_window",
    "rerank_windows",
)


def notes(ranking: Ranking, one: RankedDocument, *, everything: bool) -> dict[str, Any]:
    """Metadata about one ranked document, JSON-safe, its keys from NOTE_KEYS.

    Only the status where the input order was kept or the document not scored; all of it if
    `everything`.
    """
    status: str = ranking.status
    if one.score is None and status == "reranked":
        status = NOT_SCORED
    if not everything:
        return {STATUS_KEY: status} if status != "reranked" else {}
    error = ranking.error or one.error
    found = (
        status,
        one.index,
        ranking.model,
        type(error).__name__ if error else None,
        one.logit,
        one.tokens,
        list(one.span) if one.span else None,
        one.cut,
        one.window,
        one.windows,
    )
    paired = zip(NOTE_KEYS, found, strict=True)
    return {key: value for key, value in paired if value is not None}


def with_notes(metadata: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """A deep copy of `metadata` with `added`, and without an earlier reranker's notes."""
    kept = {key: _copied(value) for key, value in metadata.items() if key not in NOTE_KEYS}
    return {**kept, **added}


def _copied(value: Any) -> Any:
    """A deep copy; the value itself if it is of a kind that cannot be copied, such as a lock."""
    try:
        return deepcopy(value)
    except Exception:
        return value
