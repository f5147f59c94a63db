"""Which models a server has by its own list, and which of them is meant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ...errors import InvalidInputError, ReplyError, StatusError
from .config import Options, shown
from .http.failures import Refused
from .http.retrying import Exchange, Question
from .protocol.rerank_api import ServedModel, read_models

_ABSENT: Final = frozenset({400, 404, 405, 422, 501})


async def named_models(exchange: Exchange, options: Options, refused: Refused) -> Refused:
    """The same; the refusal of an unknown model with the names that the server has by now."""
    if refused.kind != "unknown_model":
        return refused
    try:
        listed = await listed_models(exchange)
    except Refused:
        listed = []
    return with_names(options, listed, refused)


def with_names(options: Options, listed: Sequence[ServedModel], refused: Refused) -> Refused:
    """The same, with the names that the server has where it knows another, or may."""
    error, names = refused.error, [model.name for model in listed]
    by_name = refused.kind == "unknown_model"
    if not isinstance(error, StatusError) or not (by_name or error.status == 404):
        return refused
    if not by_name and options.model is None:
        return refused
    if not names or options.model in names:
        return refused
    told = shown(", ".join(names), options.secrets())
    text = f"{error} Its /v1/models has: {told!r}."
    return Refused(StatusError(text, status=error.status, request_id=error.request_id))


async def listed_models(exchange: Exchange) -> list[ServedModel]:
    """The models of `/v1/models`; none if the server does not say."""
    try:
        models: list[ServedModel] = await exchange.ask(
            Question(path="/v1/models", body=None, read=read_models)
        )
    except Refused as refused:
        if not is_absent(refused) and not isinstance(refused.error, ReplyError):
            raise
        return []
    return models


def chosen_model(
    exchange: Exchange, options: Options, listed: Sequence[ServedModel]
) -> ServedModel | None:
    """The model to use; None if the server lists none or others."""
    if options.model is not None:
        return next((model for model in listed if model.name == options.model), None)
    if len({model.root for model in listed}) > 1:
        names = shown(", ".join(model.name for model in listed), options.secrets())
        raise InvalidInputError(f"{exchange.root} serves several models: {names!r}. Set model=...")
    return listed[0] if listed else None


def is_absent(refused: Refused) -> bool:
    """Whether the server lacks the route, or does not take what it was sent."""
    return getattr(refused.error, "status", None) in _ABSENT and refused.kind != "too_long"
