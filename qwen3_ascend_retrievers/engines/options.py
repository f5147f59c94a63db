"""Options of the engine that will be chosen: masked as they come in, written down without secrets.

Which names there are, and which of them hold secrets, the rows of registry.py say.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from pydantic import Secret, SecretStr

from ..errors import InvalidInputError
from .registry import PUBLIC


def masked_options(options: Any) -> Any:
    """A copy of a mapping of options with each value masked that may be a secret.

    Called before anything can fail: no frame of a traceback may hold one in plain. So a value is
    masked too if no engine has an option of that name, which may be a misspelt one.
    """
    if not isinstance(options, Mapping):
        return _masked(options)
    # Most components have none, and should import no engine for them.
    plain: Collection[str] = _plain_names() if options else ()
    return {
        name: _snapshot(value) if name in plain else _masked(value)
        for name, value in options.items()
    }


def written_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as JSON writes them, without those that hold secrets.

    Raises:
        InvalidInputError: JSON cannot write one, such as an http client.
    """
    secret = _secret_names()
    return {name: _written(name, options[name]) for name in options if name not in secret}


@cache
def _plain_names() -> frozenset[str]:
    return frozenset(name for row in PUBLIC for name in row.options()) - _secret_names()


def _secret_names() -> set[str]:
    return {name for row in PUBLIC for name in row.secrets}


def _snapshot(value: Any) -> Any:
    # A change in place must be noticed where options are compared; a client has no copy.
    return dict(value) if isinstance(value, Mapping) else value


def _masked(value: Any) -> Any:
    if value is None or isinstance(value, Secret | SecretStr):
        return value
    if isinstance(value, str):
        return SecretStr(value)
    if isinstance(value, Mapping):
        return {name: _masked(secret) for name, secret in value.items()}
    return Secret(value)


def _written(name: str, value: Any) -> Any:
    try:
        return json.loads(json.dumps(value, default=os.fspath))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"The engine option {name} cannot be written down or copied. Leave it out and set it "
            "again after loading."
        ) from error
