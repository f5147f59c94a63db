"""`--engine-option NAME=VALUE`: read, and masked, because a value may be a header's."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from ..engines.options import masked_options
from ..errors import InvalidInputError

# Arguments of the engines that have an option of their own, which says more of them.
_OWN_OPTIONS: Final = {
    "model": "--model",
    "base_url": "--base-url",
    "api_key": "--api-key-file",
    "tokenizer": "--tokenizer",
    "device": "--device",
    "dtype": "--dtype",
    "max_length": "--max-length",
}


def parse_engine_options(texts: Iterable[str]) -> dict[str, Any]:
    """Names and values, masked by `masked_options`; which names there are the engine knows.

    Args:
        texts: each NAME=VALUE; a value that is no JSON is a text.

    Raises:
        InvalidInputError: there is no such name, it has an option of its own, or it comes twice.
            The value is not in the message.
    """
    options: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        # Not quoted if it is no name: "Authorization: Bearer ..." is none.
        if not equals or not name.isidentifier():
            raise InvalidInputError(
                "--engine-option takes an argument's name and its value, such as max_retries=3."
            )
        if name in _OWN_OPTIONS:
            raise InvalidInputError(f"--engine-option {name}: use {_OWN_OPTIONS[name]}.")
        if name in options:
            raise InvalidInputError(f"--engine-option {name} is there twice.")
        options[name] = _value(value)
    masked: dict[str, Any] = masked_options(options)
    return masked


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
