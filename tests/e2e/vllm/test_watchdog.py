"""Workers end with their parent, however it ends; nobody else's do. Real processes, no vLLM."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from support.engine_processes import are_gone

# An engine that ends by no signal but SIGKILL, with a worker; beside it two of the caller's own.
PROGRAM = """
import json, multiprocessing, os, signal, subprocess, sys, time
from qwen3_ascend_retrievers.engines.vllm.processes import Watchdog

def engine(pipe):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    pipe.send(subprocess.Popen(["sleep", "600"]).pid)
    time.sleep(600)

if __name__ == "__main__":
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    watchdog = Watchdog()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with watchdog.following(frozenset()):
        child = context.Process(target=engine, args=(theirs,), name="EngineCore_0")
        child.start()
        if sys.argv[1] != "loading":
            worker = ours.recv()
        else:
            worker = None
            time.sleep(1)
    assert handlers == [signal.getsignal(number) for number in signal.valid_signals()]
    popen = subprocess.Popen(["sleep", "600"])
    # Holds all that is open here open, as a pool of the caller's would.
    forked = os.fork() if sys.argv[1] != "exec" else popen.pid
    if forked == 0:
        time.sleep(600)
    family = [child.pid, worker, watchdog._process.pid]
    print(json.dumps([family, [popen.pid, forked]]), flush=True)
    if sys.argv[1] == "_exit":
        os._exit(3)
    if sys.argv[1] == "exec":
        os.execv("/bin/sleep", ["sleep", "600"])
    if sys.argv[1] == "crash":
        import ctypes
        ctypes.string_at(0)
    if sys.argv[1] == "dismissed":
        watchdog.dismiss()
        print("dismissed", flush=True)
    time.sleep(600)
"""


def has_ended(process: psutil.Process) -> bool:
    # A parent that goes on does not wait for its children here.
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def program(tmp_path: Path) -> list[str]:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return [sys.executable, str(path)]


@pytest.mark.parametrize(
    "how",
    ["SIGTERM", "SIGKILL", "group", "loading", "_exit", "crash", "exec", "dismissed"],
)
def test_workers_end_with_their_parent(how: str, program: list[str]) -> None:
    parent = subprocess.Popen(
        [*program, how], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert parent.stdout is not None
    family, own = json.loads(parent.stdout.readline())
    watched = [psutil.Process(pid) for pid in family if pid is not None]
    bystanders = [psutil.Process(pid) for pid in own]
    try:
        if how == "group":
            # What `timeout` does, and a service manager.
            os.killpg(parent.pid, signal.SIGTERM)
        elif how == "dismissed":
            assert parent.stdout.readline() == "dismissed\n"
        elif how in ("SIGTERM", "SIGKILL", "loading"):
            parent.send_signal(signal.SIGKILL if how == "SIGKILL" else signal.SIGTERM)
        deadline = time.monotonic() + 60
        while not all(map(has_ended, watched)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert all(map(has_ended, watched))
        if how != "group":
            assert all(process.is_running() for process in bystanders)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
        for process in bystanders:
            if process.is_running():
                process.kill()


def test_a_killed_serve_takes_its_server_along() -> None:
    server = "import subprocess as s; p = s.Popen(['sleep', '600']); print(p.pid); p.wait()"
    program = (
        "import time\n"
        "from qwen3_ascend_retrievers.serving.command import ServerCommand\n"
        "from qwen3_ascend_retrievers.serving.process import running\n"
        f"with running(ServerCommand(('-uc', {server!r})), None) as process:\n"
        "    print(process.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    # The server writes on standard error.
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    assert parent.stderr is not None
    with parent.stdout, parent.stderr:
        pids = {int(parent.stdout.readline()), int(parent.stderr.readline())}
        parent.kill()
        parent.wait()
    assert are_gone(pids)


def test_a_watchdog_that_was_killed_is_told_of(
    program: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    from qwen3_ascend_retrievers.engines.vllm.processes import Watchdog

    watchdog = Watchdog()
    watchdog._process.kill()
    watchdog._process.wait()
    watchdog.name([os.getpid()])
    assert "has ended with code -9" in caplog.text
    watchdog.dismiss()
