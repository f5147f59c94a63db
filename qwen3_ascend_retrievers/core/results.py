"""What the facade returns: a ranking, with what it cost and how long it took. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from .._util.pickles import loads_older_pickles
from ..errors import RerankError
from .ranking import RankedDocument, Status


@loads_older_pickles
@dataclass(frozen=True, slots=True)
class Usage:
    """What a call cost.

    Attributes:
        documents: input documents.
        passages: distinct texts that were scored; duplicates count once, windows one each.
        prompt_tokens: tokens of all prompts; None where they were not counted.
        cache_hits: passages whose score came from a cache.
    """

    documents: int
    passages: int
    prompt_tokens: int | None
    cache_hits: int = 0


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds of wall clock: planning (tokenizing, cutting), scoring, and all together.

    The first call's planning holds the loading of the model or the handshake with the server.
    """

    plan: float = 0.0
    score: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class Ranking:
    """The result of `Reranker.rank`.

    Attributes:
        results: documents by score, ties by input position.
        status: "reranked", or "kept_order" when `on_error` kept the input order.
        usage: documents, passages and tokens.
        timings: seconds.
        model: the model that scored; None if nothing was scored.
        template_verified: see `EngineFacts`.
        error: what went wrong, under "kept_order".
    """

    results: tuple[RankedDocument, ...]
    status: Status = "reranked"
    usage: Usage = Usage(0, 0, 0)
    timings: Timings = Timings()
    model: str | None = None
    template_verified: bool | None = None
    error: RerankError | None = None
