"""One request with its retries, within the deadline: the engine's only retry loop."""

from __future__ import annotations

import logging
import math
import random
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx

from ...._util.tracing import Span, span
from ....errors import ConnectionFailedError, DeadlineExceededError, ReplyError, ScoreError, summary
from ..config import RemoteConfig
from ..redaction import redacted_excerpt
from .deadline import Deadline
from .exchange import HttpReply, HttpRequest
from .failures import RequestFailure, copy_of_error, parse_reply, quote
from .transport import Transport

if TYPE_CHECKING:
    from ..replicas import Replica

logger = logging.getLogger(__name__)

# Longest pause unless the server asks for more, so that a rate limit per minute costs little more
# than the minute.
_LONGEST_PAUSE: Final = 8.0
# How often a request is retried by default after failures that waiting does not change.
_DEFAULT_RETRIES: Final = 3


@dataclass(frozen=True, kw_only=True)
class ApiRequest:
    """One request to a server's API.

    Attributes:
        path: under the server's root, such as "/v1/rerank".
        body: JSON to POST; None is a GET.
        read: returns the result of the parsed reply and its headers, or raises ReplyError or
            ScoreError.
        documents: how many documents it has, for traces.
        template: who templates, for traces.
        splittable: whether the caller can send it in parts, so that it is not retried when the
            server's queue is full.
    """

    path: str
    body: dict[str, Any] | None
    read: Callable[[Any, Mapping[str, str]], Any]
    documents: int | None = None
    template: str | None = None
    splittable: bool = False


class RetryingClient:
    """Sends one call's requests to one server.

    Args:
        transport: the running loop's.
        config: the engine's settings.
        replica: the server.
        deadline: of all requests together.
        has_alternative: whether another server can be asked if this one fails, instead of waiting.
        first: whether its requests go before those of others, as calls wait for their replies.

    Attributes:
        has_alternative: as above.
        root: the server's address.
        typed_route: the route of reranking in base_url, if it has one.
        replies: where the replies came from.
    """

    def __init__(
        self,
        transport: Transport,
        config: RemoteConfig,
        replica: Replica,
        deadline: Deadline,
        *,
        has_alternative: bool,
        first: bool = False,
    ) -> None:
        self._first = first
        self._transport = transport
        self._config = config
        self._secrets = config.secrets()
        self._replica = replica
        self._failure = replica.failure
        self._deadline = deadline
        self.has_alternative = has_alternative
        self.root = replica.root
        self.typed_route = replica.typed_route
        self.replies = replica.proofs.reply_sources()

    def is_proven(self) -> bool:
        """Whether the canaries have verified the servers that replied."""
        return self._replica.proofs.covers(self.replies)

    async def ask(self, api_request: ApiRequest) -> Any:
        """The result of `api_request.read`.

        Raises:
            RequestFailure: it failed for good, or may be split.
            DeadlineExceededError: the deadline is over.
        """
        attempts = failures = 0
        while True:
            attempts += 1
            try:
                return await self._once(api_request, attempts)
            except RequestFailure as failure:
                failures += failure.kind == "retry"
                pause = pause_before_retry(
                    failure,
                    attempts,
                    failures,
                    splittable=api_request.splittable,
                    max_retries=0 if self.has_alternative else self._config.max_retries,
                    backoff=self._config.backoff,
                    remaining=self._deadline.remaining(),
                )
                last = failure.error
                if pause is None:
                    raise
                if pause == math.inf:
                    raise self._deadline.exceeded(last) from last.__cause__ or last
            logger.info("Asking again in %.3g s: %s", pause, summary(last))
            await anyio.sleep(pause)

    async def _once(self, api_request: ApiRequest, attempt: int) -> Any:
        request_id = uuid.uuid4().hex
        headers = self._config.request_headers(request_id)
        request = HttpRequest(self.root, api_request.path, api_request.body, headers)
        name = f"{request.method} {api_request.path}"
        with span(name, self._attributes(api_request, attempt), _error_type) as current:
            current.set_attribute("rerank.request_id", request_id)
            try:
                reply = await self._transport.send(
                    request, self._deadline, self._check, caller=self, first=self._first
                )
            except (ConnectionFailedError, DeadlineExceededError, ReplyError) as error:
                self._replica.proofs.require(self.replies)
                error.request_id = request_id
                final = isinstance(error, ReplyError) or "CERTIFICATE_VERIFY_FAILED" in str(error)
                failure = RequestFailure(error, "final" if final else "retry")
                if self.has_alternative:
                    # At once: requests that wait for their turn must not ask this server too.
                    self._replica.failure = failure
                raise failure from error.__cause__
            self._replica.replied_at = time.monotonic()
            current.set_attribute("http.response.status_code", reply.status)
            # The caller's own transport may have no connections, or none that can be compared.
            if hasattr(reply.connection, "__weakref__"):
                self.replies.connections.add(reply.connection)
            try:
                proxies = self._transport.proxies
                parsed = parse_reply(request, reply, self._secrets, request_id, proxies)
            except RequestFailure as failure:
                if failure.is_gateway():
                    self._replica.proofs.require(self.replies)
                raise
            return self._read(api_request, request, reply, parsed, request_id, current)

    def _check(self) -> None:
        """Raise another request's failure since this client began, if there is an alternative."""
        failure = self._replica.failure
        if self.has_alternative and failure is not None and failure is not self._failure:
            raise copy_of_error(failure)

    def _read(
        self, api_request: ApiRequest, request: HttpRequest, reply: HttpReply, parsed: Any,
        request_id: str, current: Span,
    ) -> Any:  # fmt: skip
        try:
            result = api_request.read(parsed, reply.headers)
        except (ReplyError, ScoreError) as error:
            message = redacted_excerpt(str(error), self._secrets)
            is_score = isinstance(error, ScoreError)
        else:
            if (tokens := getattr(result, "tokens", None)) is not None:
                current.set_attribute("rerank.tokens", tokens)
            if (model := getattr(result, "model", None)) is not None:
                self.replies.names.add(model)
            return result
        # Not from within the handler: tracebacks would show the message before its redaction.
        text = f"{request.url}: {message}{quote(reply, self._secrets)}"
        if is_score:
            raise RequestFailure(ScoreError(text))
        raise RequestFailure(ReplyError(text, status=reply.status, request_id=request_id))

    def _attributes(self, api_request: ApiRequest, attempt: int) -> dict[str, Any]:
        host, port = _host_and_port(self.root)
        return {
            "server.address": host,
            "server.port": port,
            "url.path": api_request.path,
            "rerank.documents": api_request.documents,
            "rerank.template": api_request.template,
            "rerank.attempt": attempt,
        }


@lru_cache(maxsize=64)
def _host_and_port(root: str) -> tuple[str, int | None]:
    address = httpx.URL(root)
    return address.host, address.port


def pause_before_retry(
    failure: RequestFailure,
    attempts: int,
    failures: int,
    *,
    splittable: bool,
    max_retries: int | None,
    backoff: float,
    remaining: float,
) -> float | None:
    """Seconds to wait before a request is sent again.

    Args:
        failure: the last attempt's.
        attempts: how often the request was sent.
        failures: how many of the attempts failed with the kind "retry".
        splittable: whether the caller splits the request if the server is "busy".
        max_retries: None for 3 of the kind "retry", and for no limit of the others.
        backoff: seconds of the first pause.
        remaining: seconds until the deadline.

    Returns:
        None if the request is not sent again; infinity if the deadline is over before that.
    """
    is_busy = failure.kind == "busy" and not splittable
    if failure.kind not in ("retry", "later") and not is_busy:
        return None
    # Waiting ends the other kinds, so they do not count for the limit of "retry".
    sent, limit = (failures, _DEFAULT_RETRIES) if failure.kind == "retry" else (attempts, math.inf)
    if sent > (limit if max_retries is None else max_retries):
        return None
    pause = growing_pause(backoff, attempts) if failure.wait is None else failure.wait
    return pause if pause < remaining else math.inf


def growing_pause(backoff: float, attempts: int) -> float:
    """The pause after so many attempts: doubled each time up to a bound, with jitter."""
    try:
        pause: float = min(backoff * 2 ** (attempts - 1), _LONGEST_PAUSE)
    except OverflowError:
        pause = _LONGEST_PAUSE
    return pause + random.uniform(0, min(backoff, _LONGEST_PAUSE))  # noqa: S311 - no secret


def _error_type(error: Exception) -> str:
    return type(error.error if isinstance(error, RequestFailure) else error).__name__
