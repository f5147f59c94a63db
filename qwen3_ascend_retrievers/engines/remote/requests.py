"""The requests for scores, on either route, of passages and of canaries. Nothing is sent here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from .batches import RequestBatch
from .http.retrying import ApiRequest
from .protocol.dialects.base import RerankRoute
from .protocol.rerank_api import Headers, ScoreReply, classify_body, read_classify, read_rerank
from .protocol.template_owner import TemplateOwner
from .replicas import ServerProfile


def classify_request(
    model: str | None,
    prompts: Sequence[Sequence[int]],
    *,
    logits: bool,
    template: TemplateOwner | None = "client",
) -> ApiRequest:
    """Token ids of whole prompts to `/classify`; `template` is None for canaries."""
    body = classify_body(model, prompts, logits=logits)
    return _score_request("/classify", body, read_classify, len(prompts), logits, template)


def rerank_request(
    route: RerankRoute,
    query: str,
    documents: Sequence[str],
    *,
    instruction: str | None,
    logits: bool,
    template: TemplateOwner | None,
) -> ApiRequest:
    """Texts to the rerank route; `template` is who applies it, None for canaries."""
    dialect = route.dialect
    body = dialect.rerank_body(
        route.model, query, documents, instruction=instruction, logits=logits
    )

    def read(reply: Any, headers: Headers, count: int, *, logits: bool) -> ScoreReply:
        scores = read_rerank(reply, headers, count, logits=logits)
        return scores if dialect.counts_prompts else replace(scores, tokens=None)

    any_number = logits or route.any_number
    return _score_request(route.path, body, read, len(documents), any_number, template)


def passages_request(profile: ServerProfile, batch: RequestBatch, *, logits: bool) -> ApiRequest:
    """Texts of one query to `/v1/rerank`, templated on the side that does it."""
    query, mode = batch.query, profile.mode
    by_client = mode.template == "client"
    sends_instruction = mode.template == "server" and mode.instructions is not False
    return rerank_request(
        profile.rerank_route(),
        query.part if by_client else query.query,
        [passage.part if by_client else passage.text for passage in batch.passages],
        instruction=query.instruction if sends_instruction else None,
        logits=logits,
        template=mode.template,
    )


def _score_request(
    path: str,
    body: dict[str, Any],
    read: Callable[..., ScoreReply],
    count: int,
    logits: bool,
    template: TemplateOwner | None,
) -> ApiRequest:
    is_canary = template is None
    return ApiRequest(
        path=path,
        body=body,
        # Whether a canary's numbers can be probabilities is for the handshake to judge.
        read=lambda reply, headers: read(reply, headers, count, logits=logits or is_canary),
        documents=count,
        template=template,
        splittable=count > 1 and not is_canary,
    )
