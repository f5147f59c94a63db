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
RESULT_KEYS: Final = (
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
    "rerank_stage",
    "rerank_rank",
    "rerank_retriever_rank",
    "rerank_fused_score",
)


def result_metadata(
    ranking: Ranking, result: RankedDocument, *, diagnostics: bool
) -> dict[str, Any]:
    """Metadata about one ranked document, JSON-safe, its keys from RESULT_KEYS.

    All of it with `diagnostics`. Else the status where the input order was kept or the document not
    scored, the stage where it is not a cascade's last, and both ranks where they were combined.
    """
    status: str = ranking.status
    if result.score is None and status == "reranked":
        status = NOT_SCORED
    always: dict[str, Any] = {} if status == "reranked" else {STATUS_KEY: status}
    if result.stage is not None and (result.stage.left or diagnostics):
        always["rerank_stage"] = result.stage.number
    if result.fusion is not None:
        always |= {
            "rerank_rank": result.fusion.rank,
            "rerank_retriever_rank": result.fusion.retriever_rank,
            "rerank_fused_score": result.fusion.score,
        }
    if not diagnostics:
        return always
    error = ranking.error or result.error
    values = (
        status,
        result.index,
        ranking.model,
        type(error).__name__ if error else None,
        result.logit,
        result.tokens,
        list(result.span) if result.span else None,
        result.cut,
        result.window,
        result.windows,
    )
    pairs = zip(RESULT_KEYS, values, strict=False)
    return {key: value for key, value in pairs if value is not None} | always


def merged_metadata(metadata: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """A deep copy of `metadata` with `added`, and without what an earlier reranker added."""
    copies = {key: _copied(value) for key, value in metadata.items() if key not in RESULT_KEYS}
    return {**copies, **added}


def _copied(value: Any) -> Any:
    """A deep copy; the value itself if it is of a kind that cannot be copied, such as a lock."""
    try:
        return deepcopy(value)
    except Exception:
        return value
