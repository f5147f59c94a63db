"""Sends one request and brings back one reply, or an error of this package. No retries here."""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Final

import anyio
import httpx

from ....errors import (
    ConnectionFailedError,
    DeadlineExceededError,
    EngineClosedError,
    InvalidInputError,
    ReplyError,
    RerankError,
)
from ..config import RemoteConfig
from ..redaction import redacted_excerpt
from .causes import redacted_cause
from .connections import Connections
from .deadline import Deadline
from .exchange import (
    HttpReply,
    HttpRequest,
    exchange,
    exchange_by_client,
    exchange_by_sync_client,
)
from .own_clients import (
    ONE_LOOP_MESSAGE,
    RequestThreads,
    bind_to_loop,
    is_of_another_loop,
    without_stale_connections,
)
from .proxies import NO_PROXIES, EnvironmentProxies
from .turns import Starts, Turns

# Sockets take no timeout of more seconds than about two millions.
_MAX_READ_SECONDS: Final = 1e6
# OpenSSL's words for an answer in plain text, older and newer.
_NO_TLS: Final = re.compile(
    "WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|HTTP_REQUEST|UNKNOWN_PROTOCOL"
)
_CLIENT_ERRORS: Final = (
    httpx.HTTPError,
    httpx.InvalidURL,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)


class Transport:
    """Sends requests from one event loop: its connections, and turns at each server.

    Args:
        config: the engine's settings.
        client: the caller's own sync client, used in worker threads, or async client; it is never
            closed here. None opens connections of the engine's own.

    Raises:
        InvalidInputError: an async client of another loop.

    Attributes:
        proxies: those on the way of its own connections; none with the caller's client, which has
            its own.
    """

    def __init__(
        self, config: RemoteConfig, client: httpx.Client | httpx.AsyncClient | None = None
    ) -> None:
        if isinstance(client, httpx.AsyncClient):
            bind_to_loop(client)
        trusts_environment = client is None and config.trust_env
        self.proxies = EnvironmentProxies.of_environment() if trusts_environment else NO_PROXIES
        self._client = client
        self._connections = None if client else Connections(config, self.proxies)
        self._cookies = httpx.Cookies()
        self._timeout = config.timeout
        self._secrets = config.secrets()
        self._threads = RequestThreads()
        self._starts = Starts()
        self._turns: defaultdict[str, Turns] = defaultdict(lambda: Turns(config.max_connections))

    async def begin_call(self) -> None:
        """Wait until one more call may start in this event loop."""
        await self._starts.take()

    async def send(
        self,
        request: HttpRequest,
        deadline: Deadline,
        check: Callable[[], None],
        *,
        caller: object,
        first: bool = False,
    ) -> HttpReply:
        """The reply, whatever its status.

        Args:
            request: what to send.
            deadline: when it must be over, the wait for its turn included.
            check: called when its turn comes; an error that it raises prevents the request.
            caller: whose request it is: callers take turns.
            first: whether it goes before all that wait.

        Raises:
            ConnectionFailedError: no reply.
            DeadlineExceededError: no complete reply in time, which is also the engine's timeout
                from when its turn came.
            ReplyError: its encoding is broken, or it is far too big.
        """
        turns = self._turns[request.root]
        if not turns.take_free():
            await self._wait(turns, deadline, caller, first)
        try:
            check()
            return await self._send_now(request, min(self._timeout, deadline.remaining()))
        finally:
            turns.give_back()

    async def _wait(self, turns: Turns, deadline: Deadline, caller: object, first: bool) -> None:
        try:
            with anyio.fail_after(deadline.remaining()):
                return await turns.wait(caller, first=first)
        except TimeoutError as error:
            cause = redacted_cause(error, self._secrets)
        raise deadline.exceeded() from cause

    async def _send_now(self, request: HttpRequest, seconds: float) -> HttpReply:
        handled = sys.exc_info()[1]
        try:
            with anyio.fail_after(seconds):
                return await self._send(request, seconds)
        except (TimeoutError, httpx.TimeoutException) as error:
            message = f"No complete reply from {request.url} within {seconds:.3g} s"
            proxy_advice = self.proxies.advice(request.url)
            failure: RerankError = DeadlineExceededError(
                f"{message}.{proxy_advice}" if proxy_advice else message
            )
            cause = redacted_cause(error, self._secrets, handled)
        except _CLIENT_ERRORS as error:
            failure = self._error_of(request, error)
            cause = redacted_cause(error, self._secrets, handled)
        # Not from within the handlers: the library's own error would be the context.
        raise failure from cause

    async def _send(self, request: HttpRequest, seconds: float) -> HttpReply:
        # Not before its turn: thousands of requests that wait would each hold their bytes.
        content = None if request.body is None else json.dumps(request.body).encode()
        timeout = min(seconds, _MAX_READ_SECONDS)
        client = self._client
        if isinstance(client, httpx.Client):
            send = partial(exchange_by_sync_client, client, request, content, timeout)
            return await self._threads.run(send)
        if client is not None:
            return await without_stale_connections(
                client, lambda: exchange_by_client(client, request, content, timeout)
            )
        assert self._connections is not None
        connection = await self._connections.take(request.root)
        try:
            return await exchange(connection, request, content, self._cookies)
        finally:
            await self._connections.give_back(request.root, connection)

    def _error_of(self, request: HttpRequest, error: Exception) -> RerankError:
        message = redacted_excerpt(str(error) or type(error).__name__, self._secrets)
        if isinstance(error, RuntimeError):
            return self._client_error(error)
        if isinstance(error, httpx.DecodingError):
            return ReplyError(f"The reply from {request.url} is badly encoded: {message}")
        advice = "Check that the server is up and base_url is right."
        if "CERTIFICATE_VERIFY_FAILED" in message:
            advice = "Pass verify=<file of your CA's certificate>."
        elif _NO_TLS.search(message):
            advice = "Its port speaks no TLS: write http:// instead of https:// in base_url."
        advice += self.proxies.advice(request.url)
        return ConnectionFailedError(f"No reply from {request.url}: {message}. {advice}")

    def _client_error(self, error: RuntimeError) -> EngineClosedError | InvalidInputError:
        """What is wrong with the client; `error` is raised if it is of the caller's own hooks."""
        closed = self._client is not None and self._client.is_closed
        if not closed and is_of_another_loop(error):
            return InvalidInputError(ONE_LOOP_MESSAGE)
        if not closed and "closed" not in str(error):
            raise error
        return EngineClosedError("The http client was closed. Make a new engine.")

    async def aclose(self) -> None:
        """Close the connections, unless the client is the caller's, and end the threads."""
        self._threads.join()
        if self._connections is not None:
            await self._connections.aclose()
