"""Starts a server as a process of its own, waits until it answers, and ends all of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

# A loaded two-core machine takes its time.
_START_SECONDS = 600
_STOP_SECONDS = 60


@contextmanager
def server_process(
    command: Sequence[str],
    log: Path,
    port: int,
    environment: Mapping[str, str] | None = None,
    *,
    health: str = "/health",
) -> Iterator[str]:
    """The address of a server that answers 200 at `health`; its output goes to `log`.

    It gets a session of its own, so that whatever it started ends with it.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_healthy(process, url + health, log)
        yield url
    finally:
        _stop(process)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_healthy(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(url, timeout=30, trust_env=False).status_code == 200:
                return
        time.sleep(0.5)
    raise AssertionError("The server did not start:\n" + log.read_text("utf-8", "replace")[-5000:])


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    # Also what outlived a server that ended by itself.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(_STOP_SECONDS)
