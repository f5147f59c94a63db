"""What the error bodies of rerank servers mean, by their words. failures.py reads the statuses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

# How much of an unexpected reply an error quotes, in characters.
QUOTED: Final = 200
# How much of an error body is searched: it may go on with the caller's own texts.
_SEARCHED: Final = 2000

_TOO_LONG: Final = re.compile(
    r"maximum (context|model|input|sequence)|context length|max_model_len|too long|too many tokens"
    r"|longer than|exceeds? .{0,100}(length|limit|tokens)|must have less than",
    re.IGNORECASE,
)
# The two admission errors of vLLM's exceptions.py, and the gateways' wordings.
_BUSY: Final = re.compile(r"\bbusy\b|\bqueue|backlog|overloaded|capacity", re.IGNORECASE)

# vLLM's NotFoundError, OpenAI's model_not_found, and the wordings of LiteLLM and Ollama.
_UNKNOWN_MODEL: Final = re.compile(
    r"\bmodel\b.{0,300}(does not exist|not (be )?found|is not (available|served|supported))"
    r"|(unknown|invalid|no such) model\b|model_not_found|no \w+ (for|with) .{0,40}\bmodel\b",
    re.IGNORECASE | re.DOTALL,
)

# vLLM's words, older and newer, for a model that was loaded for another task.
_NO_RERANK: Final = re.compile(r"does not support (the )?(rerank|scor|classif)", re.IGNORECASE)


def error_message(reply: Any) -> str | None:
    """An error body's message: vLLM's `error.message`, its older flat form, FastAPI's `detail`."""
    if not isinstance(reply, Mapping):
        return None
    error = reply.get("error")
    if isinstance(error, Mapping):
        error = error.get("message")
    for message in (error, reply.get("message"), reply.get("detail")):
        if message:
            return message if isinstance(message, str) else _as_text(message)
    return None


def _as_text(value: Any) -> str:
    try:
        return str(value)
    except RecursionError:
        return "a deeply nested message"


def is_too_long(message: str) -> bool:
    """Whether an error of status 400 or 422 complains of a prompt's length."""
    return _TOO_LONG.search(message[:_SEARCHED]) is not None


def is_busy(message: str) -> bool:
    """Whether an error of status 503 comes from admission control, which counts documents."""
    return _BUSY.search(message[:_SEARCHED]) is not None


def is_unknown_model(message: str) -> bool:
    """Whether an error of status 400, 404 or 422 complains of the model's name."""
    return _UNKNOWN_MODEL.search(message[:_SEARCHED]) is not None


def does_not_rerank(message: str) -> bool:
    """Whether an error says that the served model was not loaded as a reranker."""
    return _NO_RERANK.search(message[:_SEARCHED]) is not None
