"""What the checks of an engine are given."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import SecretStr

from ...engines.base import EngineFacts
from ...reranker import Reranker


@dataclass(frozen=True, slots=True)
class Subject:
    """The engine under examination.

    Attributes:
        reranker: with the engine, which it does not close.
        facts: the engine's, read at the handshake.
        base_url: the server, or None for a model in this process.
        key: sent with the request for /metrics.
    """

    reranker: Reranker
    facts: EngineFacts
    base_url: str | None
    key: SecretStr | None = None
