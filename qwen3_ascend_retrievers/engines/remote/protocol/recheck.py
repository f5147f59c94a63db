"""A few scores to know a server by: asked at first contact, and again when it may be another.

A model's name is no identity: aliases, gateways and restarts change it or keep it. Scores are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ....core.agreement import readable_logit, same_logits
from ....core.prompt import DEFAULT_INSTRUCTION, document_part, query_part
from ....core.steps import Steps
from .canary import (
    ASKED,
    DOCUMENTS,
    AskClassify,
    AskRerank,
    AskTokens,
    CanaryQuestion,
    Ids,
    KnownTokens,
)
from .rerank_api import Answer
from .template_owner import DOCUMENT, QUERY, Mode

# A right answer and a wrong one: two scores that are far apart.
_SCORED = DOCUMENTS[:2]


@dataclass(frozen=True, slots=True)
class Reference:
    """What a server said of the canaries.

    Attributes:
        logits: of the exact prompts (of the bare texts with `template="none"`).
        tokens: of those prompts; None if the server does not count.
        instructed: tokens of a prompt with a longer instruction, where the server writes it.
        prompts: token ids that were sent, to be sent again; None where texts are.
    """

    logits: tuple[float, ...]
    tokens: int | None
    instructed: int | None = None
    prompts: tuple[Ids, ...] | None = None

    def is_alike(self, again: Reference) -> bool:
        """Whether the same server, asked in the same way, may have said both."""
        counts = [(self.tokens, again.tokens), (self.instructed, again.instructed)]
        counted = all(one is None or other in (None, one) for one, other in counts)
        return counted and same_logits(self.logits, again.logits)

    def is_replica(self, other: Reference) -> bool:
        """Whether both are of one model, however each server is talked to."""
        return same_logits(self.logits, other.logits, runs=2)


def take_reference(
    mode: Mode, prompts: tuple[Ids, ...] | None = None
) -> Steps[CanaryQuestion, Any, Reference]:
    """Ask for the scores in the same way as for those of a call.

    Args:
        mode: how the server is talked to.
        prompts: token ids of an earlier reference, so that they need not be asked for.
    """
    if mode.route == "classify":
        prompts = prompts or (yield from _prompts())
        answer: Answer = yield AskClassify(prompts, logits=True)
        return Reference(answer.values, answer.tokens, prompts=prompts)
    client = mode.template == "client"
    query = query_part(DEFAULT_INSTRUCTION, ASKED) if client else ASKED
    documents = tuple(document_part(text) if client else text for text in _SCORED)
    answer = yield AskRerank(query, documents, logits=mode.logits)
    logits = answer.values if mode.logits else tuple(map(readable_logit, answer.values))
    instructed = None
    if mode.template == "server" and mode.instructions:
        longer = " ".join([DEFAULT_INSTRUCTION] * 2)
        told: Answer = yield AskRerank(QUERY, (DOCUMENT,), instruction=longer)
        instructed = told.tokens
    return Reference(logits, answer.tokens, instructed)


def _prompts() -> Steps[CanaryQuestion, Any, tuple[Ids, ...]]:
    parts: Sequence[str] = [document_part(text) for text in _SCORED]
    known: KnownTokens = yield AskTokens((query_part(DEFAULT_INSTRUCTION, ASKED), *parts))
    asked, *documents = known.ids
    return tuple(asked + ids for ids in documents)
