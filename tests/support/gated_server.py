"""A word server that holds back its answers to some queries until it is told. No tests here."""

from __future__ import annotations

import json
import threading
from http.server import ThreadingHTTPServer
from typing import Any

from typing_extensions import Self

from support.word_server import WordServer, _Handler


class GatedServer(WordServer):
    """Answers queries that hold the word GATED only when the gate is open, or with a 400.

    Attributes:
        waiting: set when such a query has arrived.
        gate: open it to let them pass.
        refuse: whether they are answered with status 400 instead of waiting.
        asked: queries that came, in order, the first contact's included.
    """

    def __init__(self) -> None:
        self.waiting, self.gate = threading.Event(), threading.Event()
        self.refuse = False
        self.asked: list[str] = []

    def __enter__(self) -> Self:
        outer = self

        class Handler(_Handler):
            def do_POST(self) -> None:  # noqa: N802 - theirs
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append(str(body.get("query")))
                if "GATED" in outer.asked[-1]:
                    outer.waiting.set()
                    if outer.refuse:
                        return self._refuse()
                    outer.gate.wait(600)
                return self._reply(body)

            def _refuse(self) -> None:
                content = b'{"error": {"message": "no such thing", "code": 400}}'
                self.send_response(400)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(self, *error: Any) -> None:
        self.gate.set()
        super().__exit__(*error)
