"""The canned server's process, as the workloads use it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from typing_extensions import Self

PROGRAM = Path(__file__).with_name("canned_server.py")


class CannedProcess:
    """A canned server; starts with `with`.

    Args:
        latency: seconds until a reply.
        slots: replies under way at once; 0 for any number.

    Attributes:
        url: where it is.
    """

    def __init__(self, latency: float = 0.0, slots: int = 0) -> None:
        self._command = [sys.executable, str(PROGRAM), str(latency), str(slots)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *_: object) -> None:
        self.resume()
        # It serves until its input ends.
        self._process.communicate()

    def served(self) -> dict[str, float]:
        """Its requests, bytes received and seconds of CPU so far."""
        counts: dict[str, float] = self._ask("/benchmark")
        return counts

    def record(self) -> None:
        """Keep the bodies of requests from now on."""
        self._ask("/benchmark/record")

    def recorded(self) -> list[dict[str, Any]]:
        """The bodies since `record`, in the order in which they arrived."""
        bodies: list[dict[str, Any]] = self._ask("/benchmark/recorded")
        return bodies

    def hang(self) -> None:
        """Stop the process: connections are still accepted by the system, and nothing replies."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def _ask(self, path: str) -> Any:
        with urlopen(self.url + path, timeout=60) as reply:
            return json.load(reply)
