"""Engines and servers that are wrong, and what doctor says of them. No tests here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from qwen3_ascend_retrievers import LocalEngine, Reranker
from qwen3_ascend_retrievers.core.plan import Plan
from qwen3_ascend_retrievers.core.ranking import Score
from qwen3_ascend_retrievers.engines.base import Call, EngineFacts
from qwen3_ascend_retrievers.testing import FakeEngine
from qwen3_ascend_retrievers.tools.diagnosis import Finding, check_engine
from support.served import served


def examine(engine: Any, base_url: str | None = None, **settings: Any) -> dict[str, Finding]:
    with Reranker(engine, **settings) as reranker:
        found = list(check_engine(reranker, base_url))
    for one in found:
        assert one.colour == "green" or one.remedy, one
        assert one.colour != "red" or one.source, one
    return {one.name: one for one in found}


class Bent(FakeEngine):
    """Tiny's scores, bent by what a test says; tokens are tiny's own."""

    def __init__(self, bend: Any, max_length: int = 1200) -> None:
        super().__init__(max_length=max_length)
        self._inner, self._bend = LocalEngine("tiny", max_length=max_length), bend

    def facts(self) -> EngineFacts:
        return self._inner.facts()

    def encode(self, texts: Sequence[str]) -> Any:
        return self._inner.encode(texts)

    def score(self, plan: Plan, call: Call) -> list[Score]:
        scores = self._inner.score(plan, call)
        return [self._bend(one, plan, at) for at, one in enumerate(scores)]

    def close(self) -> None:
        self._inner.close()


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """A server that answers everything alike."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - theirs

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - theirs
            pass

    with served(HTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url
