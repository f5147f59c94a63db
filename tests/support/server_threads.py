"""Runs a server in a thread, for the time of a block. No tests here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import HTTPServer


@contextmanager
def in_thread(serve: Callable[[], object], stop: Callable[[], object]) -> Iterator[None]:
    """`serve` runs in a thread until the block ends and `stop` makes it return."""
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join(60)


@contextmanager
def served(server: HTTPServer) -> Iterator[str]:
    """The address of a server of http.server's; the server ends with the block."""
    with server, in_thread(server.serve_forever, server.shutdown):
        yield f"http://127.0.0.1:{server.server_address[1]}"
