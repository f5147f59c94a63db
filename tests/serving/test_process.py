"""A server's process is waited for, and leaves no process behind, however the block ends."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Timer

import pytest

from qwen3_ascend_retrievers.errors import EngineError, InvalidInputError
from qwen3_ascend_retrievers.serving import process as process_module
from qwen3_ascend_retrievers.serving.command import ServerCommand
from qwen3_ascend_retrievers.serving.process import (
    SERVER_SHUTDOWN_SECONDS,
    check_port,
    failure_reason,
    new_log,
    running,
    wait_until_healthy,
)

# A stand-in for vLLM: a worker that ignores its parent's end, and /health.
SERVER = """
import http.server, os, subprocess, sys, pathlib
port, note = int(sys.argv[1]), pathlib.Path(sys.argv[2])
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
key, setting = os.environ.get("VLLM_API_KEY"), os.environ["SET"]
note.with_suffix(".new").write_text(f"{worker.pid} {key} {setting}")
note.with_suffix(".new").rename(note)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


# The same while it loads: it does not heed SIGTERM, and neither does its worker.
LOADING = """
import pathlib, signal, subprocess, sys, time
note = pathlib.Path(sys.argv[1])
signal.signal(signal.SIGTERM, signal.SIG_IGN)
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
note.with_suffix(".new").write_text(str(worker.pid))
note.with_suffix(".new").rename(note)
time.sleep(600)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ends(pid: int) -> bool:
    """Whether a process ends: a kill takes effect when the machine gets to it."""
    end = time.monotonic() + 60
    while not _has_ended(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return _has_ended(pid)


def _has_ended(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def wait_for(note: Path) -> list[str]:
    end = time.monotonic() + 60
    while not note.exists() and time.monotonic() < end:
        time.sleep(0.05)
    return note.read_text().split()


@pytest.fixture(autouse=True)
def standard_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    # The child inherits a real file, whatever pytest made of sys.stderr.
    with (tmp_path / "stderr").open("w") as file, monkeypatch.context() as patch:
        patch.setattr("sys.stderr", file)
        yield


def test_it_becomes_healthy_and_takes_its_workers_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, note = free_port(), tmp_path / "note"
    command = ServerCommand(("-c", SERVER, str(port), str(note)), {"SET": "ours"})
    with running(command, "secret") as process:
        wait_until_healthy(process, f"http://127.0.0.1:{port}", 60, lambda _: None)
        worker, key, ours = wait_for(note)
    assert (key, ours) == ("secret", "ours")
    assert ends(process.pid)
    assert ends(int(worker))


def test_what_the_caller_has_set_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET", "theirs")
    note = tmp_path / "note"
    command = ServerCommand(("-c", SERVER, str(free_port()), str(note)), {"SET": "ours"})
    worker = key = setting = ""

    def fail() -> None:
        nonlocal worker, key, setting
        with running(command, None):
            worker, key, setting = wait_for(note)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (key, setting) == ("None", "theirs")
    assert ends(int(worker))


def test_its_output_goes_to_its_log_after_the_command(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    code = "import sys; print('out'); sys.stdout.flush(); print('err', file=sys.stderr)"
    with running(ServerCommand(("-c", code)), None, log) as process:
        process.wait()
    lines = log.read_text().splitlines()
    assert lines[0].startswith("qwen3-rerank serve: python -c ")
    assert lines[1:] == ["out", "err"]
    assert capfd.readouterr().err == ""
    with running(ServerCommand(("-c", code)), None) as process:
        process.wait()
    assert capfd.readouterr().err.split() == ["out", "err"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        # The reason is the first traceback's, whoever prints more after it.
        (
            "print('INFO 1'); [].remove(2)",
            r": ValueError: list\.remove\(x\).* \(<string>, line 1, in",
        ),
        (
            "print('a\\nb\\n\\nc\\nd'); raise SystemExit(7)",
            r"code 7 before it was ready: b\nc\nd\nIts",
        ),
        ("raise SystemExit(7)", "ready: it wrote no line\nIts log is "),
    ],
)
def test_an_early_end_is_told_from_the_log(tmp_path: Path, code: str, reason: str) -> None:
    log = tmp_path / "log"
    ending = running(ServerCommand(("-c", code)), None, log)
    with ending as process, pytest.raises(EngineError, match=reason) as caught:
        wait_until_healthy(process, "http://127.0.0.1:9", 60, lambda _: None, log)
    assert f"Its log is {log}. Look for memory" in str(caught.value)


def test_a_later_end_is_told_by_the_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    old = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\nValueError: long past\n'
    log.write_text(f"python -m vllm\n{old}one\ntwo\nKilled\n")
    assert failure_reason(log, starting=False) == f": one\ntwo\nKilled\nIts log is {log}."
    assert "long past" in failure_reason(log, starting=True)


def test_a_log_is_added_to_and_an_older_reason_is_not_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("no log of ours\n")
    for code in ("[].remove(2)", "print('memory'); raise SystemExit(7)"):
        with running(ServerCommand(("-c", code)), None, log) as process:
            process.wait()
    assert log.read_text().startswith("no log of ours\nqwen3-rerank serve: python -c ")
    assert "ValueError" in log.read_text()
    assert failure_reason(log, starting=True) == f": memory\nIts log is {log}."


def test_a_new_log_is_the_user_s_own() -> None:
    logs = [new_log(8000), new_log(8000)]
    try:
        assert len(set(logs)) == 2
        assert {log.stat().st_mode & 0o777 for log in logs} == {0o600}
        assert all(log.name.startswith("qwen3-rerank-8000-") for log in logs)
    finally:
        for log in logs:
            log.unlink()


def test_an_early_end_and_a_long_wait_are_errors(tmp_path: Path) -> None:
    ending = running(ServerCommand(("-c", "raise SystemExit(7)")), None)
    with (
        ending as process,
        pytest.raises(EngineError, match="vLLM ended with code 7 before it was ready; its"),
    ):
        wait_until_healthy(process, "http://127.0.0.1:9", 60, lambda _: None)
    elapsed: list[int] = []
    sleeping = ServerCommand(("-c", "import time; time.sleep(600)"))
    log = tmp_path / "log"
    starting = running(sleeping, None, log)
    with (
        starting as process,
        pytest.raises(EngineError, match=r"raise --start-t.* log is .*/log\."),
    ):
        wait_until_healthy(process, "http://127.0.0.1:9", 1, elapsed.append, log)
    assert elapsed
    assert ends(process.pid)


def test_a_server_that_loads_is_not_waited_for_when_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "_LOADING_SHUTDOWN_SECONDS", 0.1)
    note = tmp_path / "note"

    def interrupt(_: int) -> None:
        if note.exists():
            raise KeyboardInterrupt

    starting = running(ServerCommand(("-c", LOADING, str(note))), None)
    with starting as process, pytest.raises(KeyboardInterrupt):
        wait_until_healthy(process, "http://127.0.0.1:9", 60, interrupt)
    start = time.monotonic()
    assert ends(process.pid)
    assert ends(int(note.read_text()))
    assert time.monotonic() - start < SERVER_SHUTDOWN_SECONDS / 2


def test_a_second_interrupt_kills_at_once(tmp_path: Path) -> None:
    note = tmp_path / "note"
    start = 0.0

    def interrupted_twice() -> None:
        nonlocal start
        with running(ServerCommand(("-c", LOADING, str(note))), None) as process:
            wait_for(note)
            pids.append(process.pid)
            start = time.monotonic()
            Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
            raise EngineError

    pids: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted_twice()
    assert time.monotonic() - start < SERVER_SHUTDOWN_SECONDS / 2
    assert ends(pids[0])
    assert ends(int(note.read_text()))


def test_a_port_in_use_or_none_at_all_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(InvalidInputError, match=f"port {port}: .*Choose another --port"):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)
    for host, wrong in (("127.0.0.1", 80_800), ("192.0.2.1", port), ("a..b", port)):
        with pytest.raises(InvalidInputError, match="No server can listen"):
            check_port(host, wrong)


def test_a_proxy_is_not_asked_for_a_server_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    port = free_port()
    command = ServerCommand(("-c", SERVER, str(port), str(tmp_path / "note")), {"SET": "ours"})
    with running(command, None) as process:
        wait_until_healthy(process, f"http://127.0.0.1:{port}", 60, lambda _: None)
