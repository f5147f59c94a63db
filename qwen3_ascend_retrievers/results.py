"""What the adapters write into metadata next to a score, and how metadata is copied.

Also the place of documents that have no text and so no score.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from .core.ranking import RankedDocument

if TYPE_CHECKING:
    from .rankings import Ranking

logger = logging.getLogger(__name__)

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


def with_textless(ranking: Ranking, texts: Sequence[str | None], top_n: int | None) -> Ranking:
    """A ranking of those `texts` that are not None, made one of all of them.

    Documents without a text follow the scored ones in the input's order, whatever the threshold;
    where the whole order was kept, they keep their places in it.
    """
    scored = [at for at, text in enumerate(texts) if text is not None]
    textless = [RankedDocument(at, "", None) for at, text in enumerate(texts) if text is None]
    if not textless:
        return ranking
    logger.warning(
        "%d of %d documents have no text and are not scored; the first is documents[%d].",
        len(textless),
        len(texts),
        textless[0].index,
    )
    results = [replace(result, index=scored[result.index]) for result in ranking.results]
    results += textless
    if ranking.status == "kept_order":
        results.sort(key=lambda result: result.index)
    return replace(ranking, results=tuple(results[:top_n]))


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
