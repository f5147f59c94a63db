"""Sends one request and brings back one reply, or an error of this package. No retries here."""

from __future__ import annotations

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
from ..redaction import shown
from .causes import redacted_cause
from .client import make_client
from .own_clients import ONE_LOOP, Threads, Transfer, enter_loop, of_another_loop, without_stale

# A reply may have so many bytes, and so many more for each byte that was sent: tokens come back
# as up to 20.
_BYTES: Final = 16 * 2**20
_BYTES_PER_BYTE: Final = 32
# Sockets take no timeout of more seconds than about two millions.
_LONGEST_READ: Final = 1e6
_FOREIGN: Final = (
    httpx.HTTPError,
    httpx.InvalidURL,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent; `content` is JSON, or None for a GET."""

    url: str
    content: bytes | None = field(repr=False)
    headers: RequestHeaders

    @property
    def method(self) -> str:
        return "GET" if self.content is None else "POST"

    @property
    def most(self) -> int:
        """How many bytes of a reply are read."""
        return _BYTES + _BYTES_PER_BYTE * len(self.content or b"")


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back.

    Attributes:
        connection: what it came over, to be told apart by identity; None if that is not known.
    """

    status: int
    content: bytes = field(repr=False)
    headers: httpx.Headers = field(repr=False)
    connection: Any


class Transport:
    """The way to the servers from one event loop: a client, and a gate for its requests.

    Args:
        config: the engine's settings.
        client: the caller's own sync client, used in worker threads, or async client; it is never
            closed here. None makes one.

    Raises:
        InvalidInputError: an async client of another loop.
    """

    def __init__(
        self, config: RemoteConfig, client: httpx.Client | httpx.AsyncClient | None = None
    ) -> None:
        if isinstance(client, httpx.AsyncClient):
            enter_loop(client)
        self._own = None if client else make_client(config)
        self._client = client or self._own
        self._secrets = config.secrets()
        self._threads = Threads()
        self._gate = anyio.Semaphore(config.max_concurrency)

    async def send(self, request: Request, seconds: float, check: Callable[[], None]) -> Reply:
        """The reply, whatever its status.

        Args:
            request: what to send.
            seconds: how long it may take from connecting to the last byte; waiting at the gate
                is the caller's time.
            check: called when its turn comes; what it raises ends the request before it is sent.

        Raises:
            ConnectionFailedError: no reply.
            DeadlineExceededError: no complete reply in time.
            ReplyError: its encoding is broken, or it is far too big.
        """
        handled = sys.exc_info()[1]
        async with self._gate:
            check()
            try:
                with anyio.fail_after(seconds):
                    return await self._send(request, seconds)
            except (TimeoutError, httpx.TimeoutException) as error:
                late = f"No complete reply from {request.url} within {seconds:.3g} s"
                failure: RerankError = DeadlineExceededError(late)
                cause = redacted_cause(error, self._secrets, handled)
            except _FOREIGN as error:
                failure = self._mapped(request, error)
                cause = redacted_cause(error, self._secrets, handled)
            # Not from within the handlers: the library's own error would be the context.
            raise failure from cause

    async def _send(self, request: Request, seconds: float) -> Reply:
        arguments: dict[str, Any] = {
            "content": request.content,
            "headers": request.headers,
            "timeout": min(seconds, _LONGEST_READ),
        }
        client = self._client
        if isinstance(client, httpx.AsyncClient):
            return await without_stale(client, lambda: _aread(client, request, arguments))
        assert client is not None
        return await self._threads.run(lambda transfer: _read(client, request, arguments, transfer))

    def _mapped(self, request: Request, error: Exception) -> RerankError:
        told = shown(str(error) or type(error).__name__, self._secrets)
        if isinstance(error, RuntimeError):
            return self._unusable(error)
        if isinstance(error, httpx.DecodingError):
            return ReplyError(f"The reply from {request.url} is badly encoded: {told}")
        advice = "Check that the server is up and base_url is right."
        if "CERTIFICATE_VERIFY_FAILED" in told:
            advice = "Pass verify=<file of your CA's certificate>."
        return ConnectionFailedError(f"No reply from {request.url}: {told}. {advice}")

    def _unusable(self, error: RuntimeError) -> EngineClosedError | InvalidInputError:
        """What is wrong with the client; `error` is raised if it is of the caller's own hooks."""
        closed = self._client is not None and self._client.is_closed
        if not closed and of_another_loop(error):
            return InvalidInputError(ONE_LOOP)
        if not closed and "closed" not in str(error):
            raise error
        return EngineClosedError("The http client was closed. Make a new engine.")

    async def aclose(self) -> None:
        """Close the connections, unless the client is the caller's, and end the threads."""
        self._threads.join()
        if self._own is not None:
            await self._own.aclose()


class _Body:
    """A reply's body as it arrives.

    Raises:
        ReplyError: it is compressed in a way that was not asked for, or has too many bytes.
    """

    def __init__(self, request: Request, reply: httpx.Response) -> None:
        self._request = request
        self._reply = reply
        self._content = bytearray()
        encoding = reply.headers.get("content-encoding", "").strip().lower()
        # A small piece of these can unpack to more than the memory, before it can be counted.
        if encoding in ("br", "zstd") or "," in encoding:
            self._refuse("is compressed in a way that was not asked for")

    def add(self, piece: bytes) -> None:
        self._content += piece
        if len(self._content) > self._request.most:
            self._refuse(f"has more than {self._request.most:,} bytes")

    def whole(self) -> Reply:
        reply = self._reply
        connection = reply.extensions.get("network_stream")
        return Reply(reply.status_code, bytes(self._content), reply.headers, connection)

    def _refuse(self, why: str) -> NoReturn:
        raise ReplyError(
            f"The reply from {self._request.url} {why}. Check what base_url leads to.",
            status=self._reply.status_code,
        )


async def _aread(client: httpx.AsyncClient, request: Request, arguments: dict[str, Any]) -> Reply:
    async with client.stream(request.method, request.url, **arguments) as reply:
        body = _Body(request, reply)
        async for piece in reply.aiter_bytes():
            body.add(piece)
    return body.whole()


def _read(
    client: httpx.Client, request: Request, arguments: dict[str, Any], transfer: Transfer
) -> Reply:
    traced = {"trace": transfer.trace}
    with client.stream(request.method, request.url, **arguments, extensions=traced) as reply:
        body = _Body(request, reply)
        for piece in reply.iter_bytes():
            transfer.check()
            body.add(piece)
    return body.whole()
