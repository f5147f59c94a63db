"""One request with its retries, within the deadline: the only place that waits and tries again."""

from __future__ import annotations

import json
import logging
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

from ...errors import (
    ConnectionFailedError,
    DeadlineExceededError,
    ReplyError,
    summary,
)
from ...tracing import Span, span
from .budget import Budget
from .causes import stand_in
from .options import Options
from .redaction import shown
from .refusal import Refused, parsed, quote
from .wire import Reply, Request, Wire

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
# No single pause is longer, however many failures there were, unless the server asks for it.
_LONGEST_PAUSE: Final = 8.0


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
        root: the server's address.
        budget: the time for all that is asked.
        retries: how often one request is tried again.
    """

    def __init__(
        self, wire: Wire, options: Options, root: str, budget: Budget, retries: int
    ) -> None:
        self._wire = wire
        self._options = options
        self._secrets = options.secrets()
        self.root = root
        self._budget = budget
        self._retries = retries
        self._backoff = wait_exponential(options.backoff, max=_LONGEST_PAUSE) + wait_random(
            0, options.backoff
        )

    async def ask(self, question: Question) -> Any:
        """What `question.read` makes of the reply.

        Raises:
            Refused: it failed for good, or may be split.
            DeadlineExceededError: the time is over.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: _may_retry(error, question)),
            stop=self._is_enough,
            wait=self._pause,
            sleep=anyio.sleep,
            before_sleep=self._log,
            reraise=True,
        )
        content = None if question.body is None else json.dumps(question.body).encode()
        attempt = 0

        async def once() -> Any:
            nonlocal attempt
            attempt += 1
            return await self._once(question, content, attempt)

        try:
            return await retrying(once)
        except Refused as refused:
            if _may_retry(refused, question) and self._too_late(refused):
                last = refused.error
                raise self._budget.exceeded(last) from last.__cause__ or last
            raise

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
                error.request_id = request_id
                final = isinstance(error, ReplyError) or "CERTIFICATE_VERIFY_FAILED" in str(error)
                raise Refused(error, "final" if final else "retry") from error.__cause__
            current.set_attribute("http.response.status_code", reply.status)
            found = parsed(request, reply, self._secrets, request_id)
            return self._read(question, request, reply, found, request_id, current)

    async def _reply(self, request: Request) -> Reply:
        left = self._budget.left()
        try:
            # The gate's queue is inside the deadline too.
            with anyio.fail_after(left):
                return await self._wire.send(request, min(self._options.timeout, left))
        except TimeoutError as error:
            late = stand_in(error, self._secrets)
        raise self._budget.exceeded() from late

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

    def _is_enough(self, state: RetryCallState) -> bool:
        if state.attempt_number > self._retries:
            return True
        self._pause(state)
        return self._too_late(_refused(state))

    def _too_late(self, refused: Refused) -> bool:
        return (refused.wait or 0.0) >= self._budget.left()

    def _log(self, state: RetryCallState) -> None:
        refused = _refused(state)
        logger.info("Asking again in %.3g s: %s", refused.wait, summary(refused.error))


def _may_retry(error: BaseException, question: Question) -> bool:
    if not isinstance(error, Refused):
        return False
    return error.kind == "retry" or (error.kind == "busy" and not question.splittable)


def _error_type(error: Exception) -> str:
    return type(error.error if isinstance(error, Refused) else error).__name__


def _refused(state: RetryCallState) -> Refused:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, Refused), "nothing else is retried"
    return error
