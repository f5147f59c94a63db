"""A rerank server in a few lines, for tests of examples, docs and the wheel: real HTTP, no model.

It answers as vLLM does when it was started without a template, and scores by shared words. Faults
and other servers' ways are the subject of the remote engine's own tests, not of this one.
"""

from __future__ import annotations

import json
import math
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from typing_extensions import Self

_QUERY = re.compile(r"<Query>: (.*)\n$", re.DOTALL)
_DOCUMENT = re.compile(r"^<Document>: (.*?)<\|im_end\|>", re.DOTALL)


def words(text: str) -> set[str]:
    """The distinct words of a text, lower-cased."""
    return set(re.findall(r"\w+", text.lower()))


def logit(query: str, document: str) -> float:
    """-4 to 4 by the share of the query's words that the document has, the template left out."""
    asked = words(query if (found := _QUERY.search(query)) is None else found.group(1))
    text = document if (found := _DOCUMENT.search(document)) is None else found.group(1)
    return 8 * len(asked & words(text)) / max(1, len(asked)) - 4


def answer(path: str, body: dict[str, Any]) -> dict[str, Any] | None:
    """The reply to a request, or None for a path that is not served."""
    if path == "/v1/models":
        return {"object": "list", "data": [{"id": "words", "max_model_len": 4096}]}
    if path != "/v1/rerank":
        return None
    query, documents = body["query"], body["documents"]
    scores = [logit(query, text) for text in documents]
    if body.get("use_activation", True):
        scores = [1 / (1 + math.exp(-one)) for one in scores]
    results: list[dict[str, Any]] = [
        {"index": at, "document": {"text": text}, "relevance_score": score}
        for at, (text, score) in enumerate(zip(documents, scores, strict=True))
    ]
    results.sort(key=lambda one: -one["relevance_score"])
    # One token for each byte, which is what a byte-level tokenizer without merges makes.
    tokens = sum(len((query + text).encode()) for text in documents)
    usage = {"total_tokens": tokens, "prompt_tokens": tokens}
    return {"id": "rerank-1", "model": "words", "usage": usage, "results": results}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._reply({})

    def do_POST(self) -> None:
        self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - theirs
        pass

    def _reply(self, body: dict[str, Any]) -> None:
        made = answer(self.path, body)
        content = json.dumps(made or {"detail": "Not Found"}).encode()
        self.send_response(200 if made else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class WordServer:
    """The server on a free port of 127.0.0.1, for the time of a `with` block."""

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
