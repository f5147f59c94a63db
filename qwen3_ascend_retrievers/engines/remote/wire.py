"""Sends one request and brings back one reply, or an error of this package. No retries here."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import anyio
import httpx

from ...errors import (
    ConnectionFailedError,
    DeadlineExceededError,
    EngineClosedError,
    InvalidInputError,
    RemoteError,
    ReplyError,
)
from .options import Options, redact

# vLLM's server (uvicorn) closes idle connections after 5 s; ours must go first.
KEEPALIVE_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent; `content` is JSON, or None for a GET."""

    url: str
    content: bytes | None
    headers: Mapping[str, str]

    @property
    def method(self) -> str:
        return "GET" if self.content is None else "POST"


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    content: bytes
    headers: httpx.Headers


class Wire:
    """The way to the servers from one event loop: a client, and a gate for its requests.

    Args:
        options: the engine's settings.
        client: the caller's own sync client, used in worker threads, or async client; it is never
            closed here. None makes one.
    """

    def __init__(
        self, options: Options, client: httpx.Client | httpx.AsyncClient | None = None
    ) -> None:
        self._own = None if client else _client(options)
        self._client = client or self._own
        self._options = options
        self._gate = anyio.Semaphore(options.max_concurrency)
        self.first_contact = anyio.Lock()

    async def send(self, request: Request, seconds: float) -> Reply:
        """The reply, whatever its status.

        Args:
            request: what to send.
            seconds: how long it may take from connecting to the last byte; waiting at the gate
                is the caller's time.

        Raises:
            ConnectionFailedError: no reply.
            DeadlineExceededError: no complete reply in time.
            ReplyError: its encoding is broken.
        """
        async with self._gate:
            try:
                with anyio.fail_after(seconds):
                    return await self._send(request, seconds)
            except (TimeoutError, httpx.TimeoutException) as error:
                late = f"No complete reply from {request.url} within {seconds:.3g} s"
                raise DeadlineExceededError(late) from error
            except (httpx.HTTPError, httpx.InvalidURL, OSError, RuntimeError) as error:
                raise self._mapped(request, error) from error

    async def _send(self, request: Request, seconds: float) -> Reply:
        arguments: dict[str, Any] = {
            "content": request.content,
            "headers": dict(request.headers),
            "timeout": seconds,
        }
        client = self._client
        if isinstance(client, httpx.AsyncClient):
            reply = await client.request(request.method, request.url, **arguments)
        else:
            assert client is not None
            reply = await anyio.to_thread.run_sync(
                lambda: client.request(request.method, request.url, **arguments),
                abandon_on_cancel=True,
            )
        return Reply(reply.status_code, reply.content, reply.headers)

    def _mapped(self, request: Request, error: Exception) -> RemoteError | EngineClosedError:
        told = redact(str(error) or type(error).__name__, self._options.secrets())
        if isinstance(error, RuntimeError):
            if "closed" not in told:
                raise error
            return EngineClosedError("The http client was closed. Make a new engine.")
        if isinstance(error, httpx.DecodingError):
            return ReplyError(f"The reply from {request.url} is badly encoded: {told}")
        advice = "Check that the server is up and base_url is right."
        if "CERTIFICATE_VERIFY_FAILED" in told:
            advice = "Pass verify=<file of your CA's certificate>."
        return ConnectionFailedError(f"No reply from {request.url}: {told}. {advice}")

    async def aclose(self) -> None:
        """Close the connections, unless the client is the caller's."""
        if self._own is not None:
            await self._own.aclose()


def _client(options: Options) -> httpx.AsyncClient:
    most = options.max_concurrency
    return httpx.AsyncClient(
        verify=_context(options.verify),
        timeout=None,  # noqa: S113 - every request brings its own, and a limit for the whole of it
        limits=httpx.Limits(
            max_connections=most,
            max_keepalive_connections=most,
            keepalive_expiry=KEEPALIVE_SECONDS,
        ),
    )


def _context(verify: bool | str | ssl.SSLContext) -> bool | ssl.SSLContext:
    if verify is True:
        return _default_context()
    if not isinstance(verify, str):
        return verify
    try:
        if Path(verify).is_dir():
            return ssl.create_default_context(capath=verify)
        return ssl.create_default_context(cafile=verify)
    except OSError as error:
        raise InvalidInputError(f"verify={verify!r} is no readable CA file: {error}") from error


@lru_cache(maxsize=1)
def _default_context() -> ssl.SSLContext:
    """httpx's own; reading the CA certificates for each client anew takes 50 ms."""
    return httpx.create_ssl_context()
