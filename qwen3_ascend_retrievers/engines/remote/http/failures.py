"""The meaning of an unsuccessful reply: its error, and whether to retry, split or give up."""

from __future__ import annotations

import copy
import json
import time
from email.utils import parsedate_to_datetime
from typing import Any, Final, cast

from ....errors import AuthenticationError, EngineError, ReplyError, RerankError, StatusError
from ..protocol.error_bodies import QUOTED, error_message
from ..protocol.refusals import RETRIED_STATUSES, RefusalKind, does_not_rerank, refusal_of
from ..protocol.template_owner import no_rerank_advice
from ..redaction import Secrets, redacted_excerpt
from .causes import redacted_cause
from .exchange import HttpReply, HttpRequest
from .proxies import NO_PROXIES, PROXY_STATUSES, EnvironmentProxies

# A gateway returns these for a server that it cannot reach.
_GATEWAY_STATUSES: Final = frozenset({502, 503, 504})
_KEY_ADVICE: Final = "Pass the server's key as api_key=... or in QWEN3_RERANK_API_KEY."
_UNKNOWN_MODEL_ADVICE: Final = (
    "The server does not know this model: set model=... to a name that it has."
)


class RequestFailure(Exception):  # noqa: N818 - internal: carries the error that will be raised
    """A request that failed.

    Attributes:
        error: what the caller gets if nothing helps.
        kind: "retry" the request a few times; "later" the same, as long as there is time; truncate
            or split it if it is "too_long"; split it if it has "too_many" documents; split it, else
            retry it later, if the server is too "busy" for so many; name the models that it lists
            for "unknown_model"; find the refused one if it is a "document"; or "final", as is
            "wrong_key".
        wait: seconds that the server asks to wait, or None.
        most: the limit that was exceeded, in documents ("too_many") or tokens ("too_long"), or
            None.
    """

    def __init__(
        self,
        error: EngineError,
        kind: RefusalKind = "final",
        wait: float | None = None,
        most: int | None = None,
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.kind = kind
        self.wait = wait
        self.most = most

    def is_gateway(self) -> bool:
        """Whether a gateway may return it for a server that ended, so that another answers next."""
        return self.kind != "busy" and getattr(self.error, "status", None) in _GATEWAY_STATUSES


def copy_of_error(error: Exception) -> Exception:
    """A copy, to be raised by one of several callers that wait for the same result."""
    if not isinstance(error, RequestFailure | RerankError):
        return error
    copied = copy.copy(error)
    copied.__cause__ = error.__cause__
    if isinstance(copied, RequestFailure):
        copied.error = cast(EngineError, copy_of_error(copied.error))
    return copied


def with_advice(failure: RequestFailure, advice: str) -> RequestFailure:
    """The same failure, its message ending in what the user can do."""
    changed = cast(RequestFailure, copy_of_error(failure))
    changed.error.args = (f"{failure.error} {advice}",)
    changed.__cause__ = failure.__cause__
    return changed


def parse_reply(
    request: HttpRequest,
    reply: HttpReply,
    secrets: Secrets,
    request_id: str,
    proxies: EnvironmentProxies = NO_PROXIES,
) -> Any:
    """The reply's JSON.

    Args:
        request: what was sent.
        reply: what came back.
        secrets: what no error may show.
        request_id: for the error.
        proxies: those that may have replied in the server's place.

    Raises:
        RequestFailure: its status is no success, or it is no JSON.
    """
    if not 200 <= reply.status < 300:
        raise failure_of(request, reply, secrets, request_id, proxies)
    try:
        return json.loads(reply.content)
    except (ValueError, RecursionError) as error:
        cause = redacted_cause(error, secrets)
    failure = ReplyError(
        f"The reply from {request.url} is no JSON{quote(reply, secrets)}. Does base_url lead to "
        f"the rerank server itself?{proxies.advice(request.url)}",
        status=reply.status,
        request_id=request_id,
    )
    failure.__cause__ = cause
    raise RequestFailure(failure) from cause


def failure_of(
    request: HttpRequest,
    reply: HttpReply,
    secrets: Secrets,
    request_id: str,
    proxies: EnvironmentProxies,
) -> RequestFailure:
    """The failure that a status outside 200-299 stands for."""
    status, message = reply.status, _error_text(reply)
    wait = retry_after(reply, time.time())
    kind, most = refusal_of(status, message, has_wait=wait is not None)
    by_key = status in (401, 403) or kind == "wrong_key"
    error = AuthenticationError if by_key else StatusError
    advice = _UNKNOWN_MODEL_ADVICE if kind == "unknown_model" else _status_advice(status)
    if by_key:
        advice = _KEY_ADVICE
    if does_not_rerank(message):
        advice = no_rerank_advice()
    elif status in PROXY_STATUSES:
        advice += proxies.advice(request.url)
    text = f"{request.url} answered {status}{quote(reply, secrets)}. {advice}"
    return RequestFailure(error(text, status=status, request_id=request_id), kind, wait, most)


def quote(reply: HttpReply, secrets: Secrets) -> str:
    """The beginning of a reply, secrets replaced before it is cut."""
    text = redacted_excerpt(reply.content.decode("utf-8", "replace").strip(), secrets, QUOTED)
    return f": '{text}'" if text else ""


def retry_after(reply: HttpReply, now: float) -> float | None:
    """Seconds to wait by the Retry-After header (RFC 9110, 10.2.3), a number or a date."""
    value = reply.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


def _error_text(reply: HttpReply) -> str:
    try:
        message = error_message(json.loads(reply.content))
    except (ValueError, RecursionError):
        message = None
    return message or reply.content[:1000].decode("utf-8", "replace")


def _status_advice(status: int) -> str:
    if status == 404:
        return (
            "base_url does not lead to a server with this path: check the address and what is in "
            "front of the server (vLLM has /v1/rerank with --runner pooling and a reranker)."
        )
    if status == 407:
        return "A proxy on the way wants a login, which goes into its URL in the environment."
    if 300 <= status < 400:
        return "Redirects are not followed; use the final address as base_url."
    if status in RETRIED_STATUSES:
        return "The server is overloaded or failing; see its log for the request id."
    return "See the server's log for the request id."
