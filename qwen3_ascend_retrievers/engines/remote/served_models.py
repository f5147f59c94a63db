"""Which models a server lists, and which of them to use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ...errors import InvalidInputError, ReplyError, StatusError
from .config import RemoteConfig
from .http.failures import RequestFailure
from .http.retrying import ApiRequest, RetryingClient
from .protocol.rerank_api import ServedModel, read_models
from .redaction import redacted_excerpt

# Statuses of a server that lacks a route.
_ABSENT_STATUSES: Final = frozenset({400, 404, 405, 422, 501})


async def with_listed_names(
    client: RetryingClient, config: RemoteConfig, failure: RequestFailure
) -> RequestFailure:
    """The same failure; for an unknown model with the names that the server lists now."""
    if failure.kind != "unknown_model":
        return failure
    try:
        models = await list_models(client)
    except RequestFailure:
        models = []
    return with_names(config, models, failure)


def with_names(
    config: RemoteConfig, models: Sequence[ServedModel], failure: RequestFailure
) -> RequestFailure:
    """The same failure, with the names that the server lists where it refuses the model's name."""
    error, names = failure.error, [model.name for model in models]
    by_name = failure.kind == "unknown_model"
    if not isinstance(error, StatusError) or not (by_name or error.status == 404):
        return failure
    if not by_name and config.model is None:
        return failure
    if not names or config.model in names:
        return failure
    listed = redacted_excerpt(", ".join(names), config.secrets())
    text = f"{error} Its /v1/models has: {listed!r}."
    return RequestFailure(StatusError(text, status=error.status, request_id=error.request_id))


async def list_models(client: RetryingClient) -> list[ServedModel]:
    """The models of `/v1/models`; none if the server lists none."""
    try:
        models: list[ServedModel] = await client.ask(
            ApiRequest(path="/v1/models", body=None, read=lambda reply, _: read_models(reply))
        )
    except RequestFailure as failure:
        if not is_absent(failure) and not isinstance(failure.error, ReplyError):
            raise
        return []
    return models


def select_model(
    client: RetryingClient, config: RemoteConfig, models: Sequence[ServedModel]
) -> ServedModel | None:
    """The model to use; None if the server lists none or others."""
    if config.model is not None:
        return next((model for model in models if model.name == config.model), None)
    if len({model.root for model in models}) > 1:
        names = redacted_excerpt(", ".join(model.name for model in models), config.secrets())
        raise InvalidInputError(f"{client.root} serves several models: {names!r}. Set model=...")
    return models[0] if models else None


def is_absent(failure: RequestFailure) -> bool:
    """Whether the server lacks the route, or does not accept what it was sent."""
    return getattr(failure.error, "status", None) in _ABSENT_STATUSES and failure.kind != "too_long"
