"""One request with its retries, within the deadline: the only place that waits and tries again."""

from __future__ import annotations

import json
import logging
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

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
from ..config import Options
from ..redaction import shown
from ..replicas import Endpoint
from .causes import stand_in
from .deadline import Budget
from .failures import Refused, own_error, parsed, quote
from .transport import Reply, Request, Wire

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
# No pause grows beyond this unless the server asks for it, so that a limit per minute is met soon
# after the minute is over.
_LONGEST_PAUSE: Final = 8.0
# How often a request is sent again by default after what no waiting mends.
_RETRIES: Final = 3


@dataclass(frozen=True, kw_only=True)
class Question:
    """One thing to ask a server.

    Attributes:
        path: under the server's root, such as "/v1/rerank".
        body: JSON to POST; None is a GET.
        read: makes the result of the parsed reply, or raises ReplyError.
        documents: how many documents it asks about, for traces.
        template: who templates, for traces.
        splittable: whether the caller can ask for less at a time, so that a full queue is its
            business at once.
    """

    path: str
    body: dict[str, Any] | None
    read: Callable[[Any], Any]
    documents: int | None = None
    template: str | None = None
    splittable: bool = False


class Exchange:
    """Asks one server, for one call.

    Args:
        wire: the way there from this loop.
        options: the engine's settings.
        endpoint: the server.
        budget: the time for all that is asked.
        others: whether another server can be asked if this one fails, which beats waiting.

    Attributes:
        others: as above.
        root: the server's address.
        replies: where the replies came from.
    """

    def __init__(
        self, wire: Wire, options: Options, endpoint: Endpoint, budget: Budget, *, others: bool
    ) -> None:
        self._wire = wire
        self._options = options
        self._secrets = options.secrets()
        self._endpoint = endpoint
        self._failure = endpoint.failure
        self._budget = budget
        self.others = others
        self._backoff = growing_pause(options.backoff)
        self.root = endpoint.root
        self.replies = endpoint.trust.sources()

    def is_proven(self) -> bool:
        """Whether the canaries were answered by whoever replied."""
        return self._endpoint.trust.covers(self.replies)

    async def ask(self, question: Question) -> Any:
        """What `question.read` makes of the reply.

        Raises:
            Refused: it failed for good, or may be split.
            DeadlineExceededError: the time is over.
        """
        content = None if question.body is None else json.dumps(question.body).encode()
        attempt = failures = 0

        async def once() -> Any:
            nonlocal attempt, failures
            attempt += 1
            try:
                return await self._once(question, content, attempt)
            except Refused as refused:
                # Waiting mends the others.
                failures += refused.kind == "retry"
                raise

        def is_enough(state: RetryCallState) -> bool:
            refused = _refused(state)
            sent = failures if refused.kind == "retry" else attempt
            return sent > self._most(refused) or self._pause(state) >= self._budget.left()

        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: _may_retry(error, question)),
            stop=is_enough,
            wait=self._pause,
            sleep=anyio.sleep,
            before_sleep=self._log,
            reraise=True,
        )
        try:
            return await retrying(once)
        except Refused as refused:
            if _may_retry(refused, question) and self._too_late(refused):
                last = refused.error
                raise self._budget.exceeded(last) from last.__cause__ or last
            raise

    def _most(self, refused: Refused) -> float:
        """How often a request is sent again after this."""
        if self.others:
            return 0
        if self._options.max_retries is not None:
            return self._options.max_retries
        return _RETRIES if refused.kind == "retry" else math.inf

    async def _once(self, question: Question, content: bytes | None, attempt: int) -> Any:
        request_id = uuid.uuid4().hex
        headers = self._options.request_headers(request_id)
        request = Request(self.root + question.path, content, headers)
        name = f"{request.method} {question.path}"
        with span(name, self._attributes(question, attempt), _error_type) as current:
            current.set_attribute("rerank.request_id", request_id)
            try:
                reply = await self._reply(request)
            except (ConnectionFailedError, DeadlineExceededError, ReplyError) as error:
                self._endpoint.trust.doubt(self.replies)
                error.request_id = request_id
                final = isinstance(error, ReplyError) or "CERTIFICATE_VERIFY_FAILED" in str(error)
                refused = Refused(error, "final" if final else "retry")
                if self.others:
                    # At once: those who wait for this request's place must not ask it too.
                    self._endpoint.failure = refused
                raise refused from error.__cause__
            current.set_attribute("http.response.status_code", reply.status)
            # A transport of the caller's own may have no connections, or none to tell apart.
            if hasattr(reply.connection, "__weakref__"):
                self.replies.connections.add(reply.connection)
            try:
                found = parsed(request, reply, self._secrets, request_id)
            except Refused as refused:
                if refused.is_gateway():
                    self._endpoint.trust.doubt(self.replies)
                raise
            return self._read(question, request, reply, found, request_id, current)

    async def _reply(self, request: Request) -> Reply:
        left = self._budget.left()
        try:
            # The gate's queue is inside the deadline too.
            with anyio.fail_after(left):
                seconds = min(self._options.timeout, left)
                return await self._wire.send(request, seconds, self._check)
        except TimeoutError as error:
            late = stand_in(error, self._secrets)
        raise self._budget.exceeded() from late

    def _check(self) -> None:
        """Raise Refused if others found out meanwhile that the server fails, to move on at once."""
        failure = self._endpoint.failure
        if self.others and failure is not None and failure is not self._failure:
            raise own_error(failure)

    def _read(
        self, question: Question, request: Request, reply: Reply, found: Any, request_id: str,
        current: Span,
    ) -> Any:  # fmt: skip
        try:
            result = question.read(found)
        except ReplyError as error:
            told = shown(str(error), self._secrets)
        else:
            if (tokens := getattr(result, "tokens", None)) is not None:
                current.set_attribute("rerank.tokens", tokens)
            if (model := getattr(result, "model", None)) is not None:
                self.replies.names.add(model)
            return result
        # Not from within the handler: tracebacks would show the text that was not redacted.
        text = f"{request.url}: {told}{quote(reply, self._secrets)}"
        raise Refused(ReplyError(text, status=reply.status, request_id=request_id))

    def _attributes(self, question: Question, attempt: int) -> dict[str, Any]:
        address = httpx.URL(self.root)
        return {
            "server.address": address.host,
            "server.port": address.port,
            "url.path": question.path,
            "rerank.documents": question.documents,
            "rerank.template": question.template,
            "rerank.attempt": attempt,
        }

    def _pause(self, state: RetryCallState) -> float:
        refused = _refused(state)
        if refused.wait is None:
            refused.wait = self._backoff(state)
        return refused.wait

    def _too_late(self, refused: Refused) -> bool:
        return (refused.wait or 0.0) >= self._budget.left()

    def _log(self, state: RetryCallState) -> None:
        refused = _refused(state)
        logger.info("Asking again in %.3g s: %s", refused.wait, summary(refused.error))


def growing_pause(backoff: float) -> wait_base:
    """The pause before a retry, doubled each time up to a bound, with jitter."""
    jitter = wait_random(0, min(backoff, _LONGEST_PAUSE))
    return wait_exponential(backoff, max=_LONGEST_PAUSE) + jitter


def _may_retry(error: BaseException, question: Question) -> bool:
    if not isinstance(error, Refused):
        return False
    return error.kind in ("retry", "later") or (error.kind == "busy" and not question.splittable)


def _error_type(error: Exception) -> str:
    return type(error.error if isinstance(error, Refused) else error).__name__


def _refused(state: RetryCallState) -> Refused:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, Refused), "nothing else is retried"
    return error
