"""Sends one request and brings back one reply, or an error of this package. No retries here."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

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
from ..config import RemoteConfig, RequestHeaders
from ..redaction import redacted_excerpt
from .causes import redacted_cause
from .client import make_client
from .own_clients import (
    ONE_LOOP_MESSAGE,
    RequestThreads,
    Transfer,
    bind_to_loop,
    is_of_another_loop,
    without_stale_connections,
)
from .proxies import NO_PROXIES, EnvironmentProxies

# Most bytes of a reply, and how many more for each byte that was sent: the tokens of one byte may
# take 20.
_MAX_REPLY_BYTES: Final = 16 * 2**20
_REPLY_BYTES_PER_SENT_BYTE: Final = 32
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


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What is sent; `content` is JSON, or None for a GET."""

    url: str
    content: bytes | None = field(repr=False)
    headers: RequestHeaders

    @property
    def method(self) -> str:
        return "GET" if self.content is None else "POST"

    @property
    def max_bytes(self) -> int:
        """Most bytes of the reply."""
        return _MAX_REPLY_BYTES + _REPLY_BYTES_PER_SENT_BYTE * len(self.content or b"")


@dataclass(frozen=True, slots=True)
class HttpReply:
    """What came back.

    Attributes:
        connection: the connection it came over, compared by identity; None if unknown.
    """

    status: int
    content: bytes = field(repr=False)
    headers: httpx.Headers = field(repr=False)
    connection: Any


class Transport:
    """Sends requests from one event loop: a client, and a limit on its concurrent requests.

    Args:
        config: the engine's settings.
        client: the caller's own sync client, used in worker threads, or async client; it is never
            closed here. None creates one.

    Raises:
        InvalidInputError: an async client of another loop.

    Attributes:
        proxies: those on the way of its own client; none with the caller's, which has its own.
    """

    def __init__(
        self, config: RemoteConfig, client: httpx.Client | httpx.AsyncClient | None = None
    ) -> None:
        if isinstance(client, httpx.AsyncClient):
            bind_to_loop(client)
        trusts_environment = client is None and config.trust_env
        self.proxies = EnvironmentProxies.of_environment() if trusts_environment else NO_PROXIES
        self._owned_client = None if client else make_client(config, self.proxies)
        self._client = client or self._owned_client
        self._secrets = config.secrets()
        self._threads = RequestThreads()
        self._semaphore = anyio.Semaphore(config.max_concurrency)

    async def send(
        self, request: HttpRequest, seconds: float, check: Callable[[], None]
    ) -> HttpReply:
        """The reply, whatever its status.

        Args:
            request: what to send.
            seconds: how long it may take from connecting to the last byte; waiting for its turn
                does not count.
            check: called when its turn comes; an error that it raises prevents the request.

        Raises:
            ConnectionFailedError: no reply.
            DeadlineExceededError: no complete reply in time.
            ReplyError: its encoding is broken, or it is far too big.
        """
        handled = sys.exc_info()[1]
        async with self._semaphore:
            check()
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
        arguments: dict[str, Any] = {
            "content": request.content,
            "headers": request.headers,
            "timeout": min(seconds, _MAX_READ_SECONDS),
        }
        client = self._client
        if isinstance(client, httpx.AsyncClient):
            return await without_stale_connections(
                client, lambda: _stream_async(client, request, arguments)
            )
        assert client is not None
        return await self._threads.run(
            lambda transfer: _stream_sync(client, request, arguments, transfer)
        )

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
        if self._owned_client is not None:
            await self._owned_client.aclose()


class _ReplyBody:
    """A reply's body as it arrives.

    Raises:
        ReplyError: its encoding was not requested, or it has too many bytes.
    """

    def __init__(self, request: HttpRequest, reply: httpx.Response) -> None:
        self._request = request
        self._reply = reply
        self._content = bytearray()
        encoding = reply.headers.get("content-encoding", "").strip().lower()
        # A small piece of these can unpack to more than the memory, before it can be counted.
        if encoding in ("br", "zstd") or "," in encoding:
            self._refuse("is compressed in a way that was not asked for")

    def add(self, piece: bytes) -> None:
        self._content += piece
        if len(self._content) > self._request.max_bytes:
            self._refuse(f"has more than {self._request.max_bytes:,} bytes")

    def complete(self) -> HttpReply:
        reply = self._reply
        connection = reply.extensions.get("network_stream")
        return HttpReply(reply.status_code, bytes(self._content), reply.headers, connection)

    def _refuse(self, reason: str) -> NoReturn:
        raise ReplyError(
            f"The reply from {self._request.url} {reason}. Check what base_url leads to.",
            status=self._reply.status_code,
        )


async def _stream_async(
    client: httpx.AsyncClient, request: HttpRequest, arguments: dict[str, Any]
) -> HttpReply:
    async with client.stream(request.method, request.url, **arguments) as reply:
        body = _ReplyBody(request, reply)
        async for piece in reply.aiter_bytes():
            body.add(piece)
    return body.complete()


def _stream_sync(
    client: httpx.Client, request: HttpRequest, arguments: dict[str, Any], transfer: Transfer
) -> HttpReply:
    extensions = {"trace": transfer.trace}
    with client.stream(request.method, request.url, **arguments, extensions=extensions) as reply:
        body = _ReplyBody(request, reply)
        for piece in reply.iter_bytes():
            transfer.check()
            body.add(piece)
    return body.complete()
