"""First contact with a server: which dialect it speaks, and which models it has.

What it is asked, and what its answers mean, is decided in protocol/discovery.py.
"""

from __future__ import annotations

from typing import Any

import httpx

from ...core.steps import adrive
from ...errors import AuthenticationError, ReplyError
from .config import RemoteConfig
from .http.failures import RequestFailure
from .http.retrying import ApiRequest, RetryingClient
from .protocol.discovery import (
    AskDetails,
    AskModels,
    DiscoveryQuestion,
    FoundServer,
    discovery_steps,
)
from .served_models import is_absent, list_models
from .tokenization import server_tokens


async def find_server(client: RetryingClient, config: RemoteConfig) -> FoundServer:
    """What is known of the server before it is asked for scores.

    Raises:
        RequestFailure: a request failed.
        StatusError: it says that it cannot rerank.
    """

    async def answer(question: DiscoveryQuestion) -> Any:
        if isinstance(question, AskModels):
            return await list_models(client)
        try:
            if isinstance(question, AskDetails):
                return await client.ask(
                    ApiRequest(path=question.path, body=None, read=lambda reply, _: reply)
                )
            await server_tokens(client, question.dialect, config.model, ["a"])
        except RequestFailure as failure:
            if is_unusable(failure):
                return None
            raise
        return True

    steps = discovery_steps(config.dialect, httpx.URL(client.root).host)
    return await adrive(steps, answer)


def is_unusable(failure: RequestFailure) -> bool:
    """Whether an optional route is missing or forbidden; the rerank route is enough."""
    # Old servers fail with 500 at token ids where they expect text.
    crashed = getattr(failure.error, "status", None) == 500
    return (
        crashed or is_absent(failure) or isinstance(failure.error, AuthenticationError | ReplyError)
    )
