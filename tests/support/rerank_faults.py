"""What can become of a rerank server's reply: faults for rerank_server.py, and a gate."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

from support.rerank_server import Fault, ReceivedRequest, http

Change = Callable[[Any], Any]


def status(code: int, body: Any = "no", **headers: str) -> Fault:
    """A reply with another status."""

    async def act(writer: asyncio.StreamWriter, reply: bytes) -> None:
        writer.write(http(code, body, {"Connection": "close", **headers}))
        await writer.drain()

    return Fault(f"status {code}", act)


async def _reset(writer: asyncio.StreamWriter, reply: bytes) -> None:
    writer.transport.abort()


async def _reset_in_body(writer: asyncio.StreamWriter, reply: bytes) -> None:
    writer.write(reply[:-3])
    await writer.drain()
    writer.transport.abort()


async def _cut(writer: asyncio.StreamWriter, reply: bytes) -> None:
    writer.write(reply[:-3])
    await writer.drain()


async def _stall(writer: asyncio.StreamWriter, reply: bytes) -> None:
    await asyncio.sleep(3600)


async def _drip(writer: asyncio.StreamWriter, reply: bytes) -> None:
    for at in range(len(reply)):
        writer.write(reply[at : at + 1])
        await writer.drain()
        await asyncio.sleep(0.05)


async def _noise(writer: asyncio.StreamWriter, reply: bytes) -> None:
    writer.write(b"\x00\xff SSH-2.0 whatever\r\n\r\n" * 3)
    await writer.drain()


def _changed(name: str, change: Change) -> Fault:
    async def act(writer: asyncio.StreamWriter, reply: bytes) -> None:
        changed = change(json.loads(reply.partition(b"\r\n\r\n")[2]))
        writer.write(http(200, changed, {"Connection": "close"}))
        await writer.drain()

    return Fault(name, act)


def _results(reply: Any) -> Any:
    return reply.get("results", reply.get("data")) if isinstance(reply, dict) else reply


def _doubled(reply: Any) -> Any:
    results = _results(reply)
    if results and isinstance(results[0], dict) and "index" in results[0]:
        results.append(dict(results[0]))
    return reply


def _one_removed(reply: Any) -> Any:
    results = _results(reply)
    if results:
        results.pop()
    return reply


def _index(value: Any) -> Change:
    def change(reply: Any) -> Any:
        for result in _results(reply) or []:
            if "index" in result:
                result["index"] = value
        return reply

    return change


def _score(value: Any) -> Change:
    def change(reply: Any) -> Any:
        for result in (_results(reply) or [])[-1:]:
            for name, score in (("relevance_score", value), ("score", value), ("probs", [value])):
                if name in result:
                    result[name] = score
        return reply

    return change


LOST = (
    Fault("reset", _reset),
    Fault("reset in the body", _reset_in_body),
    Fault("body cut", _cut),
    Fault("noise", _noise),
)
SLOW = (Fault("stall", _stall), Fault("drip", _drip))
OVERLOADED = tuple(status(code) for code in (408, 425, 429, 500, 502, 503, 504))
FINAL = tuple(status(code) for code in (400, 401, 403, 404, 422))
# None of these may ever be taken for a right reply.
WRONG = (
    _changed("html", lambda reply: "<html><body>502 Bad Gateway</body></html>"),
    _changed("truncated json", lambda reply: json.dumps(reply)[:-2]),
    _changed("error under 200", lambda reply: {"error": {"message": "out of memory"}}),
    _changed("nothing", lambda reply: b""),
    _changed("null", lambda reply: None),
    _changed("a list of numbers", lambda reply: [0.1, 0.2]),
    _changed("index doubled", _doubled),
    _changed("index missing", _one_removed),
    _changed("index -1", _index(-1)),
    _changed("index too big", _index(10_000)),
    _changed("index a bool", _index(True)),
    _changed("NaN", _score(float("nan"))),
    _changed("infinite", _score(float("inf"))),
    _changed("score null", _score(None)),
    _changed("score a str", _score("0.9")),
)


def raw(name: str, *parts: bytes, pause: float = 0) -> Fault:
    """These bytes in place of a reply, with a pause of so many seconds after each part."""

    async def act(writer: asyncio.StreamWriter, reply: bytes) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)

    return Fault(name, act)


class Gate:
    """A server's `decide` that holds back the replies to some requests until the gate is opened.

    Args:
        is_held: whether the reply to a request is held back.

    Attributes:
        reached: set when such a request has arrived.
        opened: set it to let them all pass.
    """

    def __init__(self, is_held: Callable[[ReceivedRequest], bool]) -> None:
        self._is_held = is_held
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self, request: ReceivedRequest) -> Fault | None:
        if not self._is_held(request):
            return None
        self.reached.set()
        return Fault("held back", self._hold)

    async def _hold(self, writer: asyncio.StreamWriter, reply: bytes) -> None:
        # Opened by another thread, and given up with the connection.
        while not self.opened.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        writer.write(reply)
        await writer.drain()
