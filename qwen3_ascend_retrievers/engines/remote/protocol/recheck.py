"""A few scores by which a server is recognised: of the handshake, and when it may be another.

A model's name does not identify it: aliases, gateways and restarts change or keep it. Scores do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ....core.agreement import readable_logit, same_logits
from ....core.prompt import DEFAULT_INSTRUCTION, document_part, query_part
from ....core.steps import Steps
from .canary import (
    SCORED_DOCUMENTS,
    SCORED_QUERY,
    AskClassify,
    AskRerank,
    AskTokens,
    CanaryQuestion,
    KnownTokens,
)
from .rerank_api import ScoreReply
from .template_owner import CANARY_DOCUMENT, CANARY_QUERY, Mode

# A right answer and a wrong one: two scores that are far apart.
_REFERENCE_DOCUMENTS: Final = SCORED_DOCUMENTS[:2]


@dataclass(frozen=True, slots=True)
class Reference:
    """A server's scores of the canaries.

    Attributes:
        logits: of the exact prompts (of the bare texts with `template="none"`).
        tokens: of those prompts; None if the server does not count.
        instructed: tokens of a prompt with a longer instruction, where the server templates.
        prompts: token ids that were sent, to be sent again; None where texts are.
    """

    logits: tuple[float, ...]
    tokens: int | None
    instructed: int | None = None
    prompts: tuple[tuple[int, ...], ...] | None = None

    def is_alike(self, again: Reference) -> bool:
        """Whether both may be of the same server, asked in the same way."""
        counts = [(self.tokens, again.tokens), (self.instructed, again.instructed)]
        same_counts = all(count is None or other in (None, count) for count, other in counts)
        return same_counts and same_logits(self.logits, again.logits)

    def is_replica(self, other: Reference) -> bool:
        """Whether both are of one model, whatever each server's mode."""
        return same_logits(self.logits, other.logits, runs=2)


def take_reference(
    mode: Mode, prompts: tuple[tuple[int, ...], ...] | None = None
) -> Steps[CanaryQuestion, Any, Reference]:
    """Ask for the scores in the same way as for those of a call.

    Args:
        mode: how the server is asked for scores.
        prompts: token ids of an earlier reference, which save a request.
    """
    if mode.route == "classify":
        prompts = prompts or (yield from _reference_prompts())
        reply: ScoreReply = yield AskClassify(prompts, logits=True)
        return Reference(reply.values, reply.tokens, prompts=prompts)
    by_client = mode.template == "client"
    query = query_part(DEFAULT_INSTRUCTION, SCORED_QUERY) if by_client else SCORED_QUERY
    documents = tuple(document_part(text) if by_client else text for text in _REFERENCE_DOCUMENTS)
    reply = yield AskRerank(query, documents, logits=mode.logits)
    are_logits = mode.logits or mode.plain == "logit"
    logits = reply.values if are_logits else tuple(map(readable_logit, reply.values))
    instructed = None
    if mode.template == "server" and mode.instructions:
        longer = " ".join([DEFAULT_INSTRUCTION] * 2)
        longer_reply: ScoreReply = yield AskRerank(
            CANARY_QUERY, (CANARY_DOCUMENT,), instruction=longer
        )
        instructed = longer_reply.tokens
    return Reference(logits, reply.tokens, instructed)


def _reference_prompts() -> Steps[CanaryQuestion, Any, tuple[tuple[int, ...], ...]]:
    parts: Sequence[str] = [document_part(text) for text in _REFERENCE_DOCUMENTS]
    tokens: KnownTokens = yield AskTokens((query_part(DEFAULT_INSTRUCTION, SCORED_QUERY), *parts))
    query, *documents = tokens.ids
    return tuple(query + document for document in documents)
