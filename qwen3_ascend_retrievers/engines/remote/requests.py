"""Which request asks for the scores of some passages, on either route. It sends nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...core.plan import Passage, Plan
from .http.retrying import ApiRequest
from .protocol.rerank_api import classify_body, read_classify, read_rerank, rerank_body
from .replicas import ServerProfile

# From whether logits are wanted to the request.
Make = Callable[[bool], ApiRequest]


@dataclass(frozen=True, slots=True)
class Part:
    """One passage to send.

    Attributes:
        at: its position in the plan.
        passage: its text and tokens.
        kept: code points that are left of the plan's text; None if it was not cut further.
    """

    at: int
    passage: Passage
    kept: int | None = None


def classify_question(profile: ServerProfile, prompts: Sequence[Sequence[int]]) -> Make:
    """Token ids of whole prompts to `/classify`."""
    count = len(prompts)

    def make(logits: bool) -> ApiRequest:
        return ApiRequest(
            path="/classify",
            body=classify_body(profile.model, prompts, logits=logits),
            read=lambda reply: read_classify(reply, count, logits=logits),
            documents=count,
            template="client",
            splittable=count > 1,
        )

    return make


def rerank_question(profile: ServerProfile, plan: Plan, parts: Sequence[Part]) -> Make:
    """Texts of one query to `/v1/rerank`, templated on the side that does it."""
    query, mode, count = plan.queries[parts[0].passage.query], profile.mode, len(parts)
    client = mode.template == "client"
    heeds = mode.template == "server" and mode.instructions

    def make(logits: bool) -> ApiRequest:
        body = rerank_body(
            profile.model,
            query.part if client else query.query,
            [one.passage.part if client else one.passage.text for one in parts],
            instruction=query.instruction if heeds else None,
            logits=logits,
        )
        return ApiRequest(
            path="/v1/rerank",
            body=body,
            read=lambda reply: read_rerank(reply, count, logits=logits),
            documents=count,
            template=mode.template,
            splittable=count > 1,
        )

    return make
