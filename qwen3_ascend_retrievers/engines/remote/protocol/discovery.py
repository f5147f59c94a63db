"""Which dialect a server speaks: what it is asked, as `Steps`, and what its answers say.

`/v1/models` is asked of every server and mostly says it; the others cost a request or two more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ....core.steps import Steps
from ....errors import InvalidInputError, StatusError
from .dialects.base import Details, DetailsRoute, Dialect
from .dialects.table import DIALECTS
from .rerank_api import ServedModel

AUTO: Final = "auto"


@dataclass(frozen=True, slots=True)
class AskModels:
    """Which models does it list? Answered with a list of ServedModel, empty if it lists none."""


@dataclass(frozen=True, slots=True)
class AskDetails:
    """What does it say of itself at this path? Answered with parsed JSON, or None."""

    path: str


@dataclass(frozen=True, slots=True)
class AskTokenize:
    """Does it tokenize as in this dialect? Answered with True or False."""

    dialect: Dialect


DiscoveryQuestion = AskModels | AskDetails | AskTokenize


@dataclass(frozen=True, slots=True)
class FoundServer:
    """What is known of a server after first contact.

    Attributes:
        dialect: with what the server says of itself.
        reason: why it is this one.
        models: the models that it lists.
    """

    dialect: Dialect
    reason: str
    models: Sequence[ServedModel]


def dialect_of_name(name: Any) -> Dialect:
    """The dialect.

    Raises:
        InvalidInputError: there is none of that name.
    """
    if not isinstance(name, str) or name not in DIALECTS:
        raise InvalidInputError(f"dialect must be {AUTO}, {', '.join(DIALECTS)}, not {name!r}.")
    return DIALECTS[name]


def discovery_steps(requested: str, host: str) -> Steps[DiscoveryQuestion, Any, FoundServer]:
    """Finds the dialect and what the server says of itself.

    Args:
        requested: a dialect's name, or "auto".
        host: the server's.

    Raises:
        InvalidInputError: there is no dialect of that name.
        StatusError: the server says that it cannot rerank.
    """
    dialect, reason = _without_asking(requested, host)
    models: list[ServedModel] = []
    details: Details | None = None
    if dialect is None or dialect.lists_models:
        models = yield AskModels()
    if dialect is None:
        dialect, reason = _by_models(models)
    if dialect is None:
        dialect, details, reason = yield from _by_routes()
    elif dialect.details is not None:
        details = yield from _ask_details(dialect.details)
    if details is None:
        return FoundServer(dialect, reason, models)
    if details.problem is not None:
        raise StatusError(details.problem)
    return FoundServer(dialect.with_details(details), reason, models)


def _without_asking(requested: str, host: str) -> tuple[Dialect | None, str]:
    if requested != AUTO:
        return dialect_of_name(requested), "dialect= says so"
    for dialect in DIALECTS.values():
        if dialect.hosts and host.endswith(dialect.hosts):
            return dialect, f"{host} is its host"
    return None, ""


def _by_models(models: Sequence[ServedModel]) -> tuple[Dialect | None, str]:
    owners = {model.owner for model in models}
    for dialect in DIALECTS.values():
        for owner in owners & set(dialect.owners):
            return dialect, f"/v1/models says owned_by {owner}"
    if any(model.max_length for model in models):
        return DIALECTS["vllm"], "/v1/models says max_model_len"
    return None, ""


def _by_routes() -> Steps[DiscoveryQuestion, Any, tuple[Dialect, Details | None, str]]:
    for dialect in DIALECTS.values():
        if dialect.details is not None and not dialect.lists_models:
            details = yield from _ask_details(dialect.details)
            if details is not None:
                return dialect, details, f"{dialect.details.path} answers as its own"
    vllm = DIALECTS["vllm"]
    if (yield AskTokenize(vllm)):
        return vllm, None, "/tokenize answers as its own"
    return DIALECTS["cohere"], None, "no route of another dialect answers"


def _ask_details(route: DetailsRoute) -> Steps[DiscoveryQuestion, Any, Details | None]:
    reply = yield AskDetails(route.path)
    return route.read(reply)
