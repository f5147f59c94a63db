"""The server's process: started in its own session, and stopped together with its workers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import httpx

from ..engines.vllm.logs import traceback_summary
from ..engines.vllm.processes import Watchdog
from ..errors import EngineError, InvalidInputError
from ..settings import child_environment
from .command import ServerCommand
from .key_guard import KEY_VARIABLE

# On SIGTERM vLLM ends its workers; what still runs after this time is killed.
SERVER_SHUTDOWN_SECONDS: Final = 30.0
# While vLLM loads it ignores SIGTERM (for 30 seconds and more, as observed), and has no clients.
_LOADING_SHUTDOWN_SECONDS: Final = 3.0
_HEALTH_TIMEOUT_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.5
_LAST_LINES: Final = 3
# Where one server's part of a log begins.
_LOG_HEAD: Final = "qwen3-rerank serve: "


def new_log(port: int) -> Path:
    """A new file for the log of a server, which only this user can read."""
    handle, path = tempfile.mkstemp(prefix=f"qwen3-rerank-{port}-", suffix=".log")
    os.close(handle)
    return Path(path)


@contextmanager
def running(
    command: ServerCommand, key: str | None, log: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """The server's process. It ends with the block, and so do its workers.

    After `kill -9` of this process the watchdog ends the server.

    Args:
        command: how it is started.
        key: that it asks its clients for.
        log: the file to which its command and its output are added; None is standard error.
    """
    secret = {} if key is None else {KEY_VARIABLE: key}
    with _watchdog() as watch, _output(command, log) as output:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter, no shell
            [sys.executable, *command.arguments],
            env=child_environment(command.environment) | secret,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C must not reach the workers before their parent.
            start_new_session=True,
        )
        try:
            watch([process.pid])
            yield process
        finally:
            _stop_server(process, SERVER_SHUTDOWN_SECONDS)


@contextmanager
def _output(command: ServerCommand, log: Path | None) -> Iterator[int]:
    if log is None:
        yield sys.stderr.fileno()
        return
    # Behind what is there: the file may be another server's log, or no log at all.
    with log.open("ab") as file:
        file.write(f"{_LOG_HEAD}{command.shell()}\n".encode(errors="backslashreplace"))
        file.flush()
        yield file.fileno()


def check_port(host: str, port: int) -> None:
    """Raise InvalidInputError unless a server can listen there.

    Another server on the port would answer our requests.
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
    process: subprocess.Popen[bytes],
    url: str,
    seconds: float,
    progress: Callable[[int], None],
    log: Path | None = None,
) -> None:
    """Return when the server answers /health; stop it on a timeout, an error or an interrupt.

    Args:
        process: the server.
        url: its address.
        seconds: how long to wait, above 0.
        progress: called with the elapsed seconds, twice a second or less often.
        log: the file with its output, which an error quotes and names.

    Raises:
        EngineError: the server ended, or is not ready in time.
    """
    try:
        _wait(process, url, seconds, progress, log)
    except BaseException:
        _stop_server(process, _LOADING_SHUTDOWN_SECONDS)
        raise


def _wait(
    process: subprocess.Popen[bytes],
    url: str,
    seconds: float,
    progress: Callable[[int], None],
    log: Path | None,
) -> None:
    start = time.monotonic()
    while (elapsed := time.monotonic() - start) < seconds:
        if process.poll() is not None:
            raise EngineError(
                f"vLLM ended with code {process.returncode} before it was ready"
                f"{failure_reason(log, starting=True)} Look for memory (lower --max-length), a "
                "port in use (--port), and run qwen3-rerank doctor."
            )
        with contextlib.suppress(httpx.TransportError):
            # The server is on this machine, whatever proxy the environment names.
            answer = httpx.get(f"{url}/health", timeout=_HEALTH_TIMEOUT_SECONDS, trust_env=False)
            if answer.status_code == 200:
                return
        progress(int(elapsed))
        time.sleep(_POLL_SECONDS)
    raise EngineError(
        f"vLLM was not ready after {seconds:.0f} seconds. Large models load slowly: raise "
        "--start-timeout." + ("" if log is None else f" Its log is {log}.")
    )


def failure_reason(log: Path | None, *, starting: bool) -> str:
    """What the server's log says of its end: the rest of a sentence, and where the log is.

    Args:
        log: the file; None if its lines are on standard error.
        starting: the log's first traceback is then the reason; later it may be long past.
    """
    if log is None:
        return "; its last lines above say why."
    text = log.read_text(encoding="utf-8", errors="replace").rpartition(_LOG_HEAD)[2]
    cause = traceback_summary(text) if starting else None
    if cause is None:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        # The first line is the command.
        cause = "\n".join(lines[1:][-_LAST_LINES:]) or "it wrote no line"
    return f": {cause}\nIts log is {log}."


@contextmanager
def _watchdog() -> Iterator[Callable[[Iterable[int]], None]]:
    """Within the block, the process IDs that it registers are ended when this process ends."""
    # vLLM requires psutil; without vLLM the server fails at its start.
    if find_spec("psutil") is None:
        yield lambda _: None
        return
    watchdog = Watchdog()
    try:
        yield watchdog.name
    finally:
        watchdog.dismiss()


def _stop_server(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Send SIGTERM; after `seconds`, or on an interrupt, kill the rest of the session."""
    try:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
    finally:
        # Workers can outlive a server that crashed; they are in its process group.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
