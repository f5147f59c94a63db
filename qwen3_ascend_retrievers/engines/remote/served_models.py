"""Which models a server has by its own list, and which of them is meant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ...errors import InvalidInputError, ReplyError, StatusError
from .config import RemoteConfig, shown
from .http.failures import RequestFailure
from .http.retrying import ApiRequest, RetryingClient
from .protocol.rerank_api import ServedModel, read_models

_ABSENT: Final = frozenset({400, 404, 405, 422, 501})


async def named_models(
    client: RetryingClient, config: RemoteConfig, failure: RequestFailure
) -> RequestFailure:
    """The same; the refusal of an unknown model with the names that the server has by now."""
    if failure.kind != "unknown_model":
        return failure
    try:
        listed = await listed_models(client)
    except RequestFailure:
        listed = []
    return with_names(config, listed, failure)


def with_names(
    config: RemoteConfig, listed: Sequence[ServedModel], failure: RequestFailure
) -> RequestFailure:
    """The same, with the names that the server has where it knows another, or may."""
    error, names = failure.error, [model.name for model in listed]
    by_name = failure.kind == "unknown_model"
    if not isinstance(error, StatusError) or not (by_name or error.status == 404):
        return failure
    if not by_name and config.model is None:
        return failure
    if not names or config.model in names:
        return failure
    told = shown(", ".join(names), config.secrets())
    text = f"{error} Its /v1/models has: {told!r}."
    return RequestFailure(StatusError(text, status=error.status, request_id=error.request_id))


async def listed_models(client: RetryingClient) -> list[ServedModel]:
    """The models of `/v1/models`; none if the server does not say."""
    try:
        models: list[ServedModel] = await client.ask(
            ApiRequest(path="/v1/models", body=None, read=read_models)
        )
    except RequestFailure as failure:
        if not is_absent(failure) and not isinstance(failure.error, ReplyError):
            raise
        return []
    return models


def chosen_model(
    client: RetryingClient, config: RemoteConfig, listed: Sequence[ServedModel]
) -> ServedModel | None:
    """The model to use; None if the server lists none or others."""
    if config.model is not None:
        return next((model for model in listed if model.name == config.model), None)
    if len({model.root for model in listed}) > 1:
        names = shown(", ".join(model.name for model in listed), config.secrets())
        raise InvalidInputError(f"{client.root} serves several models: {names!r}. Set model=...")
    return listed[0] if listed else None


def is_absent(failure: RequestFailure) -> bool:
    """Whether the server lacks the route, or does not take what it was sent."""
    return getattr(failure.error, "status", None) in _ABSENT and failure.kind != "too_long"
