"""The rerank server of the tests, on a real socket, which can be made to fail.

Its replies, and what it scores with, are in rerank_answers.py. What becomes of a reply is decided
by a function of the request: see rerank_faults.py.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from support.rerank_answers import Json, RefusalError, RerankAnswers, Setup
from support.server_threads import in_thread


@dataclass(frozen=True)
class ReceivedRequest:
    """One request as it arrived."""

    number: int
    method: str
    path: str
    headers: dict[str, str]
    body: Json


@dataclass
class Fault:
    """What is sent in place of a reply: a function of the connection and the right reply."""

    name: str
    act: Callable[[asyncio.StreamWriter, bytes], Any]


Decide = Callable[[ReceivedRequest], "Fault | None"]


@dataclass
class RerankServer:
    """Starts with `with`.

    Attributes:
        setup: how it was started; may be changed on the way.
        decide: what goes wrong with a request, None for nothing.
        kind: which family of servers it is of.
        port: 0 takes a free one.
        tls: for https, as "localhost".
        repeats: which replies are sent twice over a connection that stays open.
        requests: all of them, in order.
        idle: open connections without a request under way.
        most_idle: the most of them so far.
    """

    setup: Setup = field(default_factory=Setup)
    decide: Decide = field(default=lambda request: None)
    kind: Callable[[Setup], RerankAnswers] = RerankAnswers
    port: int = 0
    tls: ssl.SSLContext | None = None
    repeats: Callable[[ReceivedRequest], bool] = field(default=lambda request: False)
    requests: list[ReceivedRequest] = field(default_factory=list)
    idle: int = 0
    most_idle: int = 0

    def __post_init__(self) -> None:
        self.answers = self.kind(self.setup)

    def __enter__(self) -> RerankServer:
        # Bound here, so that the port is known and connections wait until the loop runs.
        self._socket = socket.create_server(("127.0.0.1", self.port))
        self.port = self._socket.getsockname()[1]
        self._loop, self._stopping = asyncio.new_event_loop(), asyncio.Event()
        self._running = ExitStack()
        self._running.enter_context(in_thread(self._run, self._stop))
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}" if self.tls else f"http://127.0.0.1:{self.port}"

    def paths(self) -> list[str]:
        """The paths of all requests, in order."""
        return [request.path for request in self.requests]

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(
            self._connection, sock=self._socket, limit=2**26, ssl=self.tls
        )
        await self._stopping.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its reply; whether the connection stays open."""
        self.idle += 1
        self.most_idle = max(self.idle, self.most_idle)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        finally:
            self.idle -= 1
        method, path, _ = head[0].split(" ")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        content = await reader.readexactly(int(headers.get("content-length", "0")))
        body = json.loads(content) if content else None
        request = ReceivedRequest(len(self.requests), method, path, headers, body)
        self.requests.append(request)
        fault = self.decide(request)
        reply = http(*self._answer(request, len(content)))
        if fault is not None:
            await fault.act(writer, reply)
            return False
        writer.write(reply * 2 if self.repeats(request) else reply)
        await writer.drain()
        return True

    def _answer(self, request: ReceivedRequest, size: int) -> tuple[int, Json, dict[str, str]]:
        try:
            reply = self.answers.routed(request.path, request.headers, request.body, size)
            return 200, reply, self.answers.headers_of(request.body)
        except RefusalError as refusal:
            return refusal.status, refusal.body, refusal.headers


def http(status: int, body: Json, headers: dict[str, str] | None = None) -> bytes:
    """A whole HTTP/1.1 reply; a str or bytes body is sent as it is."""
    if isinstance(body, str):
        body = body.encode()
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + content
