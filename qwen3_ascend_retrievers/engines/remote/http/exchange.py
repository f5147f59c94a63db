"""One request and its reply, over whichever client. Errors are the library's own here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NoReturn

import httpcore
import httpx

from ....errors import ReplyError
from ..config import RequestHeaders
from .own_clients import Transfer

# Most bytes of a reply, and how many more for each byte that was sent: the tokens of one byte may
# take 20.
_MAX_REPLY_BYTES: Final = 16 * 2**20
_REPLY_BYTES_PER_SENT_BYTE: Final = 32
# All that httpcore raises, for each of which httpx has an error of the same name.
CORE_ERRORS: Final = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
)
_USER_AGENT: Final = ("User-Agent", "qwen3-ascend-retrievers")


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What is sent.

    Attributes:
        root: the server's address.
        path: under it.
        body: JSON to POST; None is a GET.
        headers: all of them but those of HTTP itself.
    """

    root: str
    path: str
    body: Mapping[str, Any] | None = field(repr=False)
    headers: RequestHeaders

    @property
    def url(self) -> str:
        return self.root + self.path

    @property
    def method(self) -> str:
        return "GET" if self.body is None else "POST"


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


class _ReplyBody:
    """A reply's body as it arrives.

    Raises:
        ReplyError: its encoding was not requested, or it has too many bytes.
    """

    def __init__(self, request: HttpRequest, content: bytes | None, reply: httpx.Response) -> None:
        self._request = request
        self._most = _MAX_REPLY_BYTES + _REPLY_BYTES_PER_SENT_BYTE * len(content or b"")
        self._reply = reply
        self._content = bytearray()
        encoding = reply.headers.get("content-encoding", "").strip().lower()
        # A small piece of these can unpack to more than the memory, before it can be counted.
        if encoding in ("br", "zstd") or "," in encoding:
            self._refuse("is compressed in a way that was not asked for")

    def add(self, piece: bytes) -> None:
        self._content += piece
        if len(self._content) > self._most:
            self._refuse(f"has more than {self._most:,} bytes")

    def complete(self) -> HttpReply:
        reply = self._reply
        connection = reply.extensions.get("network_stream")
        return HttpReply(reply.status_code, bytes(self._content), reply.headers, connection)

    def _refuse(self, reason: str) -> NoReturn:
        raise ReplyError(
            f"The reply from {self._request.url} {reason}. Check what base_url leads to.",
            status=self._reply.status_code,
        )


async def exchange(
    connection: httpcore.AsyncConnectionInterface,
    request: HttpRequest,
    content: bytes | None,
    cookies: httpx.Cookies,
) -> HttpReply:
    """The reply over one of the engine's own connections; whoever awaits it sets the time limit.

    Values are httpx's, but no client of httpx is between: for a small request it would take half of
    the time.

    Raises:
        httpx.HTTPError: as a client of httpx would.
    """
    sent = httpx.Request(
        request.method, _url(request.url), headers=[_USER_AGENT, *request.headers], content=content
    )
    if cookies:
        cookies.set_cookie_header(sent)
    with _httpx_errors():
        core_reply = await connection.handle_async_request(
            httpcore.Request(
                sent.method,
                _core_url(request.url),
                headers=sent.headers.raw,
                content=sent.stream,
            )
        )
        try:
            stream = _ReplyStream(core_reply.stream)
            reply = httpx.Response(
                core_reply.status,
                headers=core_reply.headers,
                stream=stream,
                request=sent,
                extensions=core_reply.extensions,
            )
            if "set-cookie" in reply.headers:
                cookies.extract_cookies(reply)
            body = _ReplyBody(request, content, reply)
            is_plain = "content-encoding" not in reply.headers
            async for piece in stream if is_plain else reply.aiter_bytes():
                body.add(piece)
        finally:
            await core_reply.aclose()
    return body.complete()


class _ReplyStream(httpx.AsyncByteStream):
    """httpcore's stream as httpx's."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __aiter__(self) -> AsyncIterator[bytes]:
        pieces: AsyncIterator[bytes] = aiter(self._stream)
        return pieces


@contextmanager
def _httpx_errors() -> Iterator[None]:
    """Raises httpcore's errors as httpx's of the same name."""
    try:
        yield
    except CORE_ERRORS as error:
        raise getattr(httpx, type(error).__name__)(str(error)) from error


async def exchange_by_client(
    client: httpx.AsyncClient, request: HttpRequest, content: bytes | None, timeout: float
) -> HttpReply:
    """The reply through the caller's own client."""
    async with client.stream(
        request.method, request.url, headers=list(request.headers), content=content, timeout=timeout
    ) as reply:
        body = _ReplyBody(request, content, reply)
        async for piece in reply.aiter_bytes():
            body.add(piece)
    return body.complete()


def exchange_by_sync_client(
    client: httpx.Client,
    request: HttpRequest,
    content: bytes | None,
    timeout: float,
    transfer: Transfer,
) -> HttpReply:
    """The reply through the caller's own sync client, in a thread."""
    with client.stream(
        request.method,
        request.url,
        headers=list(request.headers),
        content=content,
        timeout=timeout,
        extensions={"trace": transfer.trace},
    ) as reply:
        body = _ReplyBody(request, content, reply)
        for piece in reply.iter_bytes():
            transfer.check()
            body.add(piece)
    return body.complete()


@lru_cache(maxsize=256)
def _url(url: str) -> httpx.URL:
    return httpx.URL(url)


@lru_cache(maxsize=256)
def _core_url(url: str) -> httpcore.URL:
    parsed = _url(url)
    return httpcore.URL(
        scheme=parsed.raw_scheme, host=parsed.raw_host, port=parsed.port, target=parsed.raw_path
    )
