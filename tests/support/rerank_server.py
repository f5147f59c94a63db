"""A rerank server on a real socket, which can be made to fail.

What it says is in rerank_answers.py; what goes wrong is decided by a function of the request.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from support.rerank_answers import Json, RefusalError, RerankAnswers, Setup


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    number: int
    method: str
    path: str
    headers: dict[str, str]
    body: Json


@dataclass
class Fault:
    """What goes wrong: a function of the connection and the right reply; see rerank_faults.py."""

    name: str
    act: Callable[[asyncio.StreamWriter, bytes], Any]


Decide = Callable[[Asked], "Fault | None"]


@dataclass
class RerankServer:
    """Starts with `with`.

    Attributes:
        setup: how it was started; may be changed on the way.
        decide: what goes wrong with a request, None for nothing.
        port: 0 takes a free one.
        asked: all requests, in order.
        idle: open connections without a request under way.
        most_idle: the most of them so far.
    """

    setup: Setup = field(default_factory=Setup)
    decide: Decide = field(default=lambda asked: None)
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    idle: int = 0
    most_idle: int = 0

    def __post_init__(self) -> None:
        self.answers = RerankAnswers(self.setup)

    def __enter__(self) -> RerankServer:
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def paths(self) -> list[str]:
        """The paths of all requests, in order."""
        return [one.path for one in self.asked]

    def _serve(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._connection, "127.0.0.1", self.port, limit=2**26)
        )
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.run_until_complete(server.wait_closed())
        self._loop.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._client(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
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
        asked = Asked(len(self.asked), method, path, headers, body)
        self.asked.append(asked)
        fault = self.decide(asked)
        reply = http(*self._answer(asked, len(content)))
        if fault is not None:
            await fault.act(writer, reply)
            return False
        writer.write(reply)
        await writer.drain()
        return True

    def _answer(self, asked: Asked, size: int) -> tuple[int, Json, dict[str, str]]:
        try:
            return 200, self.answers.routed(asked.path, asked.headers, asked.body, size), {}
        except RefusalError as failure_of:
            return failure_of.status, failure_of.body, failure_of.headers


def http(status: int, body: Json, headers: dict[str, str] | None = None) -> bytes:
    """A whole HTTP/1.1 reply; a str or bytes body is sent as it is."""
    if isinstance(body, str):
        body = body.encode()
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + content
