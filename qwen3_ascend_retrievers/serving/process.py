"""The running server: started in a session of its own, waited for, and ended with its workers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Final

import httpx

from ..engines.vllm.processes import Watchdog
from ..errors import EngineError, InvalidInputError
from ..settings import child_environment
from .command import ServerCommand
from .key_guard import KEY_VARIABLE

# vLLM ends its workers when asked to; what still runs after this many seconds is killed.
PATIENCE: Final = 30.0
# While it loads it does not heed SIGTERM (seen for 30 seconds and more), and serves nobody.
_LOADING_PATIENCE: Final = 3.0
_PAUSE: Final = 0.5


@contextmanager
def running(command: ServerCommand, key: str | None) -> Iterator[subprocess.Popen[bytes]]:
    """The server's process; its output goes to standard error. No process of it is left behind.

    Not even by `kill -9` of this process, which has the watchdog end the server.
    """
    secret = {} if key is None else {KEY_VARIABLE: key}
    with _watched() as watch:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter, no shell
            [sys.executable, *command.arguments],
            env=child_environment(command.environment) | secret,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            # Ctrl-C must not reach the workers before their parent.
            start_new_session=True,
        )
        try:
            watch([process.pid])
            yield process
        finally:
            _end(process)


def check_port(host: str, port: int) -> None:
    """Raise InvalidInputError unless a server can listen there.

    Another server on the port would answer the questions that are meant for ours.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError, UnicodeError) as error:
        raise InvalidInputError(
            f"No server can listen on {host}, port {port}: {error}. Choose another --port or "
            "--host."
        ) from error


def wait_until_healthy(
    process: subprocess.Popen[bytes], url: str, seconds: float, said: Callable[[int], None]
) -> None:
    """Return when the server answers /health; end it if that cannot be, or is not waited for.

    Args:
        process: the server.
        url: its address.
        seconds: how long to wait, above 0.
        said: told the seconds that have passed, now and then.

    Raises:
        EngineError: the server ended, or is not ready in time.
    """
    try:
        _wait(process, url, seconds, said)
    except BaseException:
        _end_within(process, _LOADING_PATIENCE)
        raise


def _wait(
    process: subprocess.Popen[bytes], url: str, seconds: float, said: Callable[[int], None]
) -> None:
    start = time.monotonic()
    while (passed := time.monotonic() - start) < seconds:
        if process.poll() is not None:
            raise EngineError(
                f"vLLM ended with code {process.returncode} before it was ready; its last lines "
                "above say why. Look for memory (lower --max-length), a port in use (--port), and "
                "run qwen3-rerank doctor."
            )
        with contextlib.suppress(httpx.TransportError):
            # The server is on this machine, whatever proxy the environment names.
            answer = httpx.get(f"{url}/health", timeout=PATIENCE, trust_env=False)
            if answer.status_code == 200:
                return
        said(int(passed))
        time.sleep(_PAUSE)
    raise EngineError(
        f"vLLM was not ready after {seconds:.0f} seconds. Large models load slowly: raise "
        "--start-timeout."
    )


@contextmanager
def _watched() -> Iterator[Callable[[Iterable[int]], None]]:
    """The time in which the processes that the block names end with this one."""
    # vLLM brings psutil; without vLLM no server outlives its start.
    if find_spec("psutil") is None:
        yield lambda _: None
        return
    watchdog = Watchdog()
    try:
        yield watchdog.name
    finally:
        watchdog.dismiss()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the server to end, then kill what is left of its session."""
    _end_within(process, PATIENCE)


def _end_within(process: subprocess.Popen[bytes], seconds: float) -> None:
    """The same with less patience; an interrupt ends all patience."""
    try:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
    finally:
        # Workers outlive a server that ended badly; they are in its process group.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
