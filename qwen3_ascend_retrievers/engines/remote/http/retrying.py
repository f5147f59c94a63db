"""One request with its retries, within the deadline: the engine's only retry loop."""

from __future__ import annotations

import json
import logging
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    wait_exponential,
    wait_random,
)
from tenacity.wait import wait_base

from ...._util.tracing import Span, span
from ....errors import ConnectionFailedError, DeadlineExceededError, ReplyError, summary
from ..config import RemoteConfig
from ..redaction import redacted_excerpt
from .causes import redacted_cause
from .deadline import Deadline
from .failures import RequestFailure, copy_of_error, parse_reply, quote
from .transport import HttpReply, HttpRequest, Transport

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
        read: returns the result of the parsed reply, or raises ReplyError.
        documents: how many documents it has, for traces.
        template: who templates, for traces.
        splittable: whether the caller can send it in parts, so that it is not retried when the
            server's queue is full.
    """

    path: str
    body: dict[str, Any] | None
    read: Callable[[Any], Any]
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

    Attributes:
        has_alternative: as above.
        root: the server's address.
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
    ) -> None:
        self._transport = transport
        self._config = config
        self._secrets = config.secrets()
        self._replica = replica
        self._failure = replica.failure
        self._deadline = deadline
        self.has_alternative = has_alternative
        self._backoff = growing_pause(config.backoff)
        self.root = replica.root
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
        content = None if api_request.body is None else json.dumps(api_request.body).encode()
        attempt = failures = 0

        async def once() -> Any:
            nonlocal attempt, failures
            attempt += 1
            try:
                return await self._once(api_request, content, attempt)
            except RequestFailure as failure:
                # Waiting mends the others.
                failures += failure.kind == "retry"
                raise

        def is_enough(state: RetryCallState) -> bool:
            failure = _failure_of(state)
            sent = failures if failure.kind == "retry" else attempt
            return sent > self._most(failure) or self._pause(state) >= self._deadline.remaining()

        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: _may_retry(error, api_request)),
            stop=is_enough,
            wait=self._pause,
            sleep=anyio.sleep,
            before_sleep=self._log,
            reraise=True,
        )
        try:
            return await retrying(once)
        except RequestFailure as failure:
            if _may_retry(failure, api_request) and self._too_late(failure):
                last = failure.error
                raise self._deadline.exceeded(last) from last.__cause__ or last
            raise

    def _most(self, failure: RequestFailure) -> float:
        """How often a request is sent again after this."""
        if self.has_alternative:
            return 0
        if self._config.max_retries is not None:
            return self._config.max_retries
        return _DEFAULT_RETRIES if failure.kind == "retry" else math.inf

    async def _once(self, api_request: ApiRequest, content: bytes | None, attempt: int) -> Any:
        request_id = uuid.uuid4().hex
        headers = self._config.request_headers(request_id)
        request = HttpRequest(self.root + api_request.path, content, headers)
        name = f"{request.method} {api_request.path}"
        with span(name, self._attributes(api_request, attempt), _error_type) as current:
            current.set_attribute("rerank.request_id", request_id)
            try:
                reply = await self._reply(request)
            except (ConnectionFailedError, DeadlineExceededError, ReplyError) as error:
                self._replica.proofs.require(self.replies)
                error.request_id = request_id
                final = isinstance(error, ReplyError) or "CERTIFICATE_VERIFY_FAILED" in str(error)
                failure = RequestFailure(error, "final" if final else "retry")
                if self.has_alternative:
                    # At once: requests that wait for their turn must not ask this server too.
                    self._replica.failure = failure
                raise failure from error.__cause__
            current.set_attribute("http.response.status_code", reply.status)
            # The caller's own transport may have no connections, or none that can be compared.
            if hasattr(reply.connection, "__weakref__"):
                self.replies.connections.add(reply.connection)
            try:
                parsed = parse_reply(request, reply, self._secrets, request_id)
            except RequestFailure as failure:
                if failure.is_gateway():
                    self._replica.proofs.require(self.replies)
                raise
            return self._read(api_request, request, reply, parsed, request_id, current)

    async def _reply(self, request: HttpRequest) -> HttpReply:
        remaining = self._deadline.remaining()
        try:
            # The wait for its turn is within the deadline too.
            with anyio.fail_after(remaining):
                seconds = min(self._config.timeout, remaining)
                return await self._transport.send(request, seconds, self._check)
        except TimeoutError as error:
            cause = redacted_cause(error, self._secrets)
        raise self._deadline.exceeded() from cause

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
            result = api_request.read(parsed)
        except ReplyError as error:
            message = redacted_excerpt(str(error), self._secrets)
        else:
            if (tokens := getattr(result, "tokens", None)) is not None:
                current.set_attribute("rerank.tokens", tokens)
            if (model := getattr(result, "model", None)) is not None:
                self.replies.names.add(model)
            return result
        # Not from within the handler: tracebacks would show the message before its redaction.
        text = f"{request.url}: {message}{quote(reply, self._secrets)}"
        raise RequestFailure(ReplyError(text, status=reply.status, request_id=request_id))

    def _attributes(self, api_request: ApiRequest, attempt: int) -> dict[str, Any]:
        address = httpx.URL(self.root)
        return {
            "server.address": address.host,
            "server.port": address.port,
            "url.path": api_request.path,
            "rerank.documents": api_request.documents,
            "rerank.template": api_request.template,
            "rerank.attempt": attempt,
        }

    def _pause(self, state: RetryCallState) -> float:
        failure = _failure_of(state)
        if failure.wait is None:
            failure.wait = self._backoff(state)
        return failure.wait

    def _too_late(self, failure: RequestFailure) -> bool:
        return (failure.wait or 0.0) >= self._deadline.remaining()

    def _log(self, state: RetryCallState) -> None:
        failure = _failure_of(state)
        logger.info("Asking again in %.3g s: %s", failure.wait, summary(failure.error))


def growing_pause(backoff: float) -> wait_base:
    """The pause before a retry, doubled each time up to a bound, with jitter."""
    jitter = wait_random(0, min(backoff, _LONGEST_PAUSE))
    return wait_exponential(backoff, max=_LONGEST_PAUSE) + jitter


def _may_retry(error: BaseException, api_request: ApiRequest) -> bool:
    if not isinstance(error, RequestFailure):
        return False
    return error.kind in ("retry", "later") or (error.kind == "busy" and not api_request.splittable)


def _error_type(error: Exception) -> str:
    return type(error.error if isinstance(error, RequestFailure) else error).__name__


def _failure_of(state: RetryCallState) -> RequestFailure:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, RequestFailure), "nothing else is retried"
    return error
