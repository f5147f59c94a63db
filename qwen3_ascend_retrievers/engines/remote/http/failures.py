"""What a reply that says no means: which error it is, and whether to retry, split or give up."""

from __future__ import annotations

import copy
import json
import time
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal, cast

from ....errors import AuthenticationError, EngineError, ReplyError, RerankError, StatusError
from ..protocol.error_bodies import QUOTED, error_message, is_busy, is_too_long, is_unknown_model
from ..redaction import Secrets, shown
from .causes import redacted_cause
from .transport import Reply, Request

RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
# A gateway says these of a server that it cannot reach.
_GATEWAY: Final = frozenset({502, 503, 504})
_UNKNOWN_MODEL: Final = "The server does not know this model: set model=... to a name that it has."
# These ask to come back later, and do so for a minute or more.
_LATER: Final = frozenset({429, 503})
# What a server or a gateway may say of a single text: empty, forbidden, not to its taste. Whether
# it means the text or the whole request shows when it is asked about another text.
_MAY_MEAN_A_DOCUMENT: Final = frozenset({400, 403, 406, 409, 415, 422, 451})
Kind = Literal["final", "retry", "later", "too_long", "busy", "unknown_model", "document"]


class RequestFailure(Exception):  # noqa: N818 - internal: carries the error that will be raised
    """A request that failed.

    Attributes:
        error: what the caller gets if nothing helps.
        kind: "retry" it as it is a few times; "later" the same, as long as there is time; cut or
            split it if it is "too_long"; split it, else retry it later, if the server is too
            "busy" for so many documents; name the models that it has for "unknown_model"; find
            the one that may be meant if it is a "document"; or "final".
        wait: seconds that the server asks to wait, or None.
    """

    def __init__(self, error: EngineError, kind: Kind = "final", wait: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.kind = kind
        self.wait = wait

    def is_gateway(self) -> bool:
        """Whether a gateway may say it of a server that ended, so that another answers next."""
        return self.kind != "busy" and getattr(self.error, "status", None) in _GATEWAY


def own_error(error: Exception) -> Exception:
    """The same error, to be raised by one of several who wait for the same thing."""
    if not isinstance(error, RequestFailure | RerankError):
        return error
    made = copy.copy(error)
    made.__cause__ = error.__cause__
    if isinstance(made, RequestFailure):
        made.error = cast(EngineError, own_error(made.error))
    return made


def parsed(request: Request, reply: Reply, secrets: Secrets, request_id: str) -> Any:
    """The reply's JSON.

    Raises:
        RequestFailure: its status says no, or it is no JSON.
    """
    if not 200 <= reply.status < 300:
        raise failure_of(request, reply, secrets, request_id)
    try:
        return json.loads(reply.content)
    except (ValueError, RecursionError) as error:
        cause = redacted_cause(error, secrets)
    failure = ReplyError(
        f"The reply from {request.url} is no JSON{quote(reply, secrets)}. Does base_url lead to "
        "the rerank server itself?",
        status=reply.status,
        request_id=request_id,
    )
    failure.__cause__ = cause
    raise RequestFailure(failure) from cause


def failure_of(request: Request, reply: Reply, secrets: Secrets, request_id: str) -> RequestFailure:
    """What a status outside 200-299 means."""
    status, told = reply.status, _message(reply)
    kind: Kind = "retry" if status in RETRIED else "final"
    wait = retry_after(reply, time.time())
    if status == 413 or (status in (400, 422) and is_too_long(told)):
        kind = "too_long"
    elif status == 503 and is_busy(told):
        kind = "busy"
    elif status in _LATER or (kind == "retry" and wait is not None):
        kind = "later"
    elif status in (400, 404, 422) and is_unknown_model(told):
        kind = "unknown_model"
    elif status in _MAY_MEAN_A_DOCUMENT:
        kind = "document"
    error = AuthenticationError if status in (401, 403) else StatusError
    advice = _UNKNOWN_MODEL if kind == "unknown_model" else _advice(status)
    text = f"{request.url} answered {status}{quote(reply, secrets)}. {advice}"
    return RequestFailure(error(text, status=status, request_id=request_id), kind, wait)


def quote(reply: Reply, secrets: Secrets) -> str:
    """The beginning of a reply, secrets replaced before it is cut."""
    text = shown(reply.content.decode("utf-8", "replace").strip(), secrets, QUOTED)
    return f": '{text}'" if text else ""


def retry_after(reply: Reply, now: float) -> float | None:
    """Seconds to wait by the Retry-After header (RFC 9110, 10.2.3), a number or a date."""
    value = reply.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


def _message(reply: Reply) -> str:
    try:
        told = error_message(json.loads(reply.content))
    except (ValueError, RecursionError):
        told = None
    return told or reply.content[:1000].decode("utf-8", "replace")


def _advice(status: int) -> str:
    if status in (401, 403):
        return "Pass the server's key as api_key=... or in QWEN3_RERANK_API_KEY."
    if status == 404:
        return (
            "base_url does not lead to a server with this path: check the address and what is in "
            "front of the server (vLLM has /v1/rerank with --runner pooling and a reranker)."
        )
    if 300 <= status < 400:
        return "Redirects are not followed; use the final address as base_url."
    if status in RETRIED:
        return "The server is overloaded or failing; see its log for the request id."
    return "See the server's log for the request id."
