"""Where the message is in the error bodies of rerank servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# How much of an unexpected reply an error quotes, in characters.
QUOTED: Final = 200


def error_message(reply: Any) -> str | None:
    """An error body's message: vLLM's `error.message`, its older flat form, FastAPI's `detail`.

    TEI has it as `error`; SiliconFlow sends a bare string with some statuses.
    """
    if not isinstance(reply, Mapping):
        return reply if isinstance(reply, str) else None
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
