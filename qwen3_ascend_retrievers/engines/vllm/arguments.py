"""Checks of the values in `vllm_args`, whose errors name the argument.

vLLM computes with values before it checks them, so that its own errors often name no argument.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Mapping
from typing import Any, Final, get_type_hints

from pydantic import TypeAdapter, ValidationError

from ...errors import InvalidInputError
from ...settings import printed

# Where vLLM turns arguments into settings, before it starts a process.
_CONFIG_FUNCTION: Final = "create_engine_config"
# What a worker raises at a value that it cannot work with.
_VALUE_ERRORS: Final = ("ValueError", "TypeError", "ValidationError", "AssertionError", "KeyError")


def check_types(arguments: type, extra: Mapping[str, Any]) -> None:
    """Raise InvalidInputError for a value that is not of the type that vLLM declares.

    Args:
        arguments: vLLM's class of engine arguments.
        extra: the caller's, by name; what cannot be judged here is left to vLLM.
    """
    for name, value in extra.items():
        adapter = _adapter(arguments, name)
        if adapter is None:
            continue
        try:
            # Only dictionaries may stand for one of vLLM's objects; text is no number.
            adapter.validate_python(value, strict=isinstance(value, str | bool))
        except ValidationError as error:
            reason = error.errors(include_url=False, include_input=False)[0]["msg"]
            raise _refusal(name, value, f"{reason}.") from error


def argument_error(
    error: Exception, cause: str | None, extra: Mapping[str, Any]
) -> InvalidInputError | None:
    """An error that names the argument in `extra` for which vLLM did not start; None without one.

    Args:
        error: what starting the engine raised.
        cause: what its processes logged, an exception's name first.
        extra: the caller's arguments.
    """
    frames = {frame.name for frame in traceback.extract_tb(error.__traceback__)}
    reason = str(error) if _CONFIG_FUNCTION in frames else cause or ""
    # Where memory is short, vLLM advises to change arguments whose values are fine.
    if _CONFIG_FUNCTION not in frames and (
        not reason.startswith(_VALUE_ERRORS) or "memory" in reason.lower()
    ):
        return None
    text = reason.lower()
    for name, value in extra.items():
        if any(spelling in text for spelling in (name, name.replace("_", " "))):
            return _refusal(name, value, " ".join(reason.split()))
    return None


def _refusal(name: str, value: Any, reason: str) -> InvalidInputError:
    return InvalidInputError(f"vllm_args: vLLM does not take {name}={printed(value)}: {reason}")


def _adapter(arguments: type, name: str) -> TypeAdapter[Any] | None:
    """Judges values by the declaration of one argument; None if that cannot be resolved."""
    for module, annotation in _declarations(arguments, name):

        def declared() -> None: ...

        declared.__annotations__ = {name: annotation}
        try:
            return TypeAdapter(get_type_hints(declared, module, include_extras=True)[name])
        # Names that are imported for type checkers only, and types that pydantic does not know.
        except Exception:
            return None
    return None


def _declarations(arguments: type, name: str) -> Iterator[tuple[dict[str, Any], Any]]:
    for parent in arguments.__mro__:
        annotations = vars(parent).get("__annotations__", {})
        if name in annotations and parent.__module__ in sys.modules:
            yield vars(sys.modules[parent.__module__]), annotations[name]
