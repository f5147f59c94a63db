"""A rerank server for timings, in a process of its own: it answers with bytes that it has ready.

    python tests/benchmarks/canned_server.py LATENCY_SECONDS SLOTS

The first time, a body is scored as the tests' fake servers do, so that a handshake finds a right
server and results can be checked for agreement. From then on the same body gets the same bytes,
after the latency, at most SLOTS at a time; 0 sets no limit. It prints its port, then serves until
its input ends.

Bodies are told apart by path, length and first bytes. `GET /benchmark` returns what it served:
requests, bytes received, seconds of CPU, and the most requests under way at once since the last
time. From `GET /benchmark/record` on it keeps the bodies;
`GET /benchmark/recorded` returns them in their order and ends that.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.rerank_answers import RefusalError, RerankAnswers, Setup, sigmoid, words_in_common
from support.rerank_server import http

_KEY_BYTES = 2048
# Beside vLLM's: Text Embeddings Inference's body, and NVIDIA's.
_OTHER_BODIES = {"/rerank": "texts", "/v1/ranking": "passages"}


class CannedAnswers(RerankAnswers):
    """vLLM's replies with the exact template, and those of two more routes of reranking."""

    def rerank(self, body: Any) -> Any:
        """The reply of /v1/rerank: like vLLM's cut to `top_n`, of which 0 is all."""
        reply = super().rerank(body)
        if top_n := body.get("top_n", 0):
            reply["results"] = reply["results"][:top_n]
        return reply

    def routed(self, path: str, headers: dict[str, str], body: Any, size: int) -> Any:
        """The reply to a request."""
        field = _OTHER_BODIES.get(path)
        if field is None or field not in body:
            return super().routed(path, headers, body, size)
        texts = [text["text"] if isinstance(text, dict) else text for text in body[field]]
        query = body["query"]["text"] if isinstance(body["query"], dict) else body["query"]
        results = self.rerank({"query": query, "documents": texts, "use_activation": False})
        values = [(entry["index"], entry["relevance_score"]) for entry in results["results"]]
        if field == "passages":
            return {"rankings": [{"index": index, "logit": logit} for index, logit in values]}
        return [{"index": index, "score": sigmoid(logit)} for index, logit in values]


class CannedServer:
    """What all connections share.

    Args:
        latency: seconds until a reply, from when its turn comes.
        slots: replies under way at once, as of a model with so much room; 0 for any number.
    """

    def __init__(self, latency: float, slots: int) -> None:
        setup = Setup(template="exact", scorer=words_in_common, max_model_len=32_768)
        self._answers = CannedAnswers(setup)
        self._replies: dict[tuple[bytes, int, bytes], bytes] = {}
        self._latency = latency
        self._free = slots or sys.maxsize
        self._waiting: list[tuple[asyncio.Transport, bytes]] = []
        self._requests = self._received = self._under_way = self._most = 0
        self._recorded: list[bytes] | None = None

    def answer(self, transport: asyncio.Transport, head: bytes, body: bytes) -> None:
        """Send the reply to one request, later."""
        _method, path, _ = head.split(b" ", 2)
        if path.startswith(b"/benchmark"):
            transport.write(http(200, self._controlled(path)))
            return
        if self._recorded is not None and body:
            self._recorded.append(body)
        self._requests += 1
        self._received += len(head) + len(body)
        key = (path, len(body), body[:_KEY_BYTES])
        reply = self._replies.get(key)
        if reply is None:
            reply = self._replies[key] = self._scored(path.decode(), body)
        if not self._latency:
            transport.write(reply)
            return
        self._under_way += 1
        self._most = max(self._most, self._under_way)
        self._waiting.append((transport, reply))
        self._begin_waiting()

    def _begin_waiting(self) -> None:
        while self._free and self._waiting:
            self._free -= 1
            transport, reply = self._waiting.pop(0)
            asyncio.get_running_loop().call_later(self._latency, self._end, transport, reply)

    def _end(self, transport: asyncio.Transport, reply: bytes) -> None:
        self._free += 1
        self._under_way -= 1
        transport.write(reply)
        self._begin_waiting()

    def _controlled(self, path: bytes) -> Any:
        if path == b"/benchmark":
            return self._served()
        recorded, self._recorded = self._recorded or [], None
        if path == b"/benchmark/record":
            self._recorded = []
        return [json.loads(body) for body in recorded]

    def _served(self) -> dict[str, float]:
        most, self._most = self._most, self._under_way
        return {
            "requests": self._requests, "bytes": self._received, "cpu_seconds": time.process_time(),
            "most_at_once": most,
        }  # fmt: skip

    def _scored(self, path: str, body: bytes) -> bytes:
        parsed = json.loads(body) if body else None
        try:
            return http(200, self._answers.routed(path, {}, parsed, len(body)))
        except RefusalError as refusal:
            return http(refusal.status, refusal.body, refusal.headers)


class Connection(asyncio.Protocol):
    """One connection, of which requests follow one another."""

    def __init__(self, server: CannedServer) -> None:
        self._server = server
        self._received = bytearray()
        self._head = b""
        self._missing = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note where replies go."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete."""
        self._received += data
        while self._is_complete():
            body = bytes(self._received[: self._missing])
            del self._received[: self._missing]
            self._missing = -1
            self._server.answer(self._transport, self._head, body)

    def _is_complete(self) -> bool:
        if self._missing < 0:
            head, separator, _ = self._received.partition(b"\r\n\r\n")
            if not separator:
                return False
            del self._received[: len(head) + len(separator)]
            self._head = bytes(head)
            self._missing = _content_length(self._head)
        return len(self._received) >= self._missing


def _content_length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


async def serve(latency: float, slots: int) -> None:
    """Serve until the input ends."""
    loop = asyncio.get_running_loop()
    canned = CannedServer(latency, slots)
    listening = await loop.create_server(lambda: Connection(canned), "127.0.0.1", 0, backlog=16_384)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]), int(sys.argv[2])))
