"""The caller's own http clients: a sync one in threads that end, an async one in its own loop.

A thread that reads from a socket cannot be cancelled, but its socket can be shut down. httpx
reports a connection when it is opened (the `trace` extension) and when a reply begins; in between,
and when a connection is used again, the first write shows which request it carries.
"""

from __future__ import annotations

import asyncio
import contextvars
import re
import socket
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

import httpx

from ....errors import InvalidInputError

Result = TypeVar("Result")
CLIENT_THREAD_NAME: Final = "qwen3-rerank-http-client"
ONE_LOOP_MESSAGE: Final = (
    "async_http_client was used in another event loop, where its connections belong. Use it in "
    "one loop only, give each loop an engine with its own client, or leave http_client and "
    "async_http_client out: the engine's own client serves all loops and threads."
)
_OPEN_EVENTS: Final = ("connect_tcp.complete", "connect_unix_socket.complete", "start_tls.complete")
# A step that failed, or a connection or reply being closed: the thread is ending already, and
# an error here would be raised where the garbage collector closes a generator.
_ENDING_EVENT: Final = re.compile(r"\.failed$|close")
# A connection that is still being opened cannot be shut down; it ends with its timeout.
_JOIN_SECONDS: Final = 2.0
# Each attempt removes a connection of the closed loop from the pool, which holds at most as many.
_MAX_STALE: Final = 100

_current = threading.local()
_client_loops: weakref.WeakKeyDictionary[
    httpx.AsyncClient, weakref.ref[asyncio.AbstractEventLoop]
] = weakref.WeakKeyDictionary()


class AbortedError(Exception):
    """No caller waits for this reply any more; raised only within the thread."""


class _Connection:
    """A connection of a sync client, and the transfer that wrote to it last."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._write = stream.write
        self._user: Transfer | None = None
        # Requests of the caller's own code may follow on it, and must not be shut down.
        stream.write = self.write

    def write(self, content: bytes, timeout: float | None = None) -> None:
        """The stream's own `write`, after noting which transfer writes."""
        self._user = getattr(_current, "transfer", None)
        if self._user is not None:
            self._user.use(self)
        self._write(content, timeout)

    def shut_down(self, transfer: Transfer) -> None:
        """End what `transfer` reads or writes, unless the connection is another's by now."""
        sock = self._stream.get_extra_info("socket")
        if self._user is transfer and isinstance(sock, socket.socket):
            with suppress(OSError):
                # Not SSLSocket's own method, which forgets the encryption while it is in use.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it, before httpx has it in its pool."""
        self._stream.close()


class Transfer:
    """One request of a sync client in a thread, which can be aborted from another thread."""

    def __init__(self) -> None:
        self._aborted = False
        self._shared = False
        self._connection: _Connection | None = None

    def run(self, send: Callable[[Transfer], Result], outcome: Future[Result]) -> None:
        """Set `outcome` to what `send` returns or raises; `send` passes `trace` to httpx."""
        _current.transfer = self
        try:
            outcome.set_result(send(self))
        except BaseException as error:
            outcome.set_exception(error)

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Called by httpx at each step of the request."""
        self._shared = self._shared or event.startswith("http2.")
        if event.endswith(_OPEN_EVENTS):
            connection = _Connection(info["return_value"])
            connection._user = self
            self._connection = connection
            if self._aborted:
                connection.close()
        if not _ENDING_EVENT.search(event):
            self.check()

    def use(self, connection: _Connection) -> None:
        """Note which connection carries the request."""
        self._connection = connection
        self.check()

    def check(self) -> None:
        """Raise AbortedError if no caller waits any more."""
        if self._aborted:
            raise AbortedError

    def abort(self) -> None:
        """End the thread's work: at once if its connection is open, else at its next step."""
        self._aborted = True
        connection = self._connection
        # Other requests are under way on a connection of HTTP/2.
        if connection is not None and not self._shared:
            connection.shut_down(self)


class RequestThreads:
    """The threads of a sync client's requests, one for each, so that none is idle."""

    def __init__(self) -> None:
        self._alive: weakref.WeakSet[threading.Thread] = weakref.WeakSet()

    async def run(self, send: Callable[[Transfer], Result]) -> Result:
        """What `send` returns; cancelling the wait aborts the transfer."""
        transfer = Transfer()
        outcome: Future[Result] = Future()
        # From now on a cancelled wait does not cancel the outcome, which the thread will still set.
        outcome.set_running_or_notify_cancel()
        work = partial(contextvars.copy_context().run, transfer.run, send, outcome)
        thread = threading.Thread(target=work, name=CLIENT_THREAD_NAME, daemon=True)
        self._alive.add(thread)
        thread.start()
        try:
            return await asyncio.wrap_future(outcome)
        except asyncio.CancelledError:
            transfer.abort()
            raise

    def join(self) -> None:
        """Wait a while for the threads to end; their requests were aborted before."""
        end = time.monotonic() + _JOIN_SECONDS
        for thread in list(self._alive):
            thread.join(max(0.0, end - time.monotonic()))


def bind_to_loop(client: httpx.AsyncClient) -> None:
    """Note that `client` is used in this loop.

    Raises:
        InvalidInputError: it was used in another loop that is not closed.
    """
    running = asyncio.get_running_loop()
    loop = _client_loops.get(client, lambda: None)()
    if loop is not None and loop is not running and not loop.is_closed():
        raise InvalidInputError(ONE_LOOP_MESSAGE)
    _client_loops[client] = weakref.ref(running)


async def without_stale_connections(
    client: httpx.AsyncClient, send: Callable[[], Awaitable[Result]]
) -> Result:
    """What `send` returns, on a connection of this loop.

    Connections of a loop that was closed are still in the client's pool; each fails once.
    """
    for _ in range(_MAX_STALE):
        try:
            return await send()
        except RuntimeError as error:
            if client.is_closed or not is_of_another_loop(error):
                raise
    return await send()


def is_of_another_loop(error: Exception) -> bool:
    """Whether asyncio complains of a connection that belongs to another loop."""
    return "loop" in str(error)
