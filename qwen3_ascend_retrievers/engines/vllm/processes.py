"""vLLM's processes: finding them, and ending them for certain.

vLLM's own shutdown waits a few seconds and may leave a worker of a killed engine behind; and where
this process is killed there is no shutdown at all, which is what watchdog.py is for.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import subprocess
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from importlib import import_module
from multiprocessing.spawn import get_executable
from pathlib import Path
from typing import Any, Final

from ...errors import EngineError
from . import watchdog

logger = logging.getLogger(__name__)

# Process objects of psutil, which vLLM depends on.
Processes = Sequence[Any]
# What vLLM calls the processes that it starts from this one; the second coordinates replicas.
_NAMES: Final = ("EngineCore", "VLLM")
# Seconds between two searches for them while vLLM starts, and for the watchdog to end.
_SEARCH_SECONDS: Final = 0.02
_WATCHDOG_SECONDS: Final = 5.0


def _root_pids(earlier: Collection[int]) -> list[int]:
    """Ids of the processes that vLLM has started from this one, but those in `earlier`."""
    return [
        child.pid
        for child in multiprocessing.active_children()
        if child.pid is not None and child.pid not in earlier and child.name.startswith(_NAMES)
    ]


def engine_processes(earlier: Iterable[int] = ()) -> list[Any]:
    """This process's vLLM engines and all their descendants, but those of the ids `earlier`."""
    psutil = import_module("psutil")
    processes: list[Any] = []
    for pid in _root_pids(set(earlier)):
        try:
            root = psutil.Process(pid)
            processes += [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
    return processes


def end_processes(processes: Processes, *, timeout: float) -> None:
    """Kill those of `processes` that have not ended after `timeout` seconds, and wait."""
    psutil = import_module("psutil")
    _, alive = psutil.wait_procs(processes, timeout=timeout)
    for process in alive:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=5)
    # Collects the exit states, so that no zombie stays.
    multiprocessing.active_children()


class Watchdog:
    """Kills vLLM's processes when this process has ended, in whatever way.

    Raises:
        EngineError: its process does not start.
    """

    def __init__(self) -> None:
        psutil_home = Path(str(import_module("psutil").__file__)).parents[1]
        program = [get_executable(), "-I", watchdog.__file__, str(os.getpid()), str(psutil_home)]
        try:
            # In a session of its own, so that a signal to this one's process group spares it.
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, no shell
                program,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise EngineError(
                f"The process that ends vLLM's workers with this program does not start: {error}. "
                "Free memory, or raise the limit of processes (ulimit -u)."
            ) from error

    @contextlib.contextmanager
    def following(self, earlier: Collection[int]) -> Iterator[None]:
        """The time in which vLLM starts processes, each of which is watched from its start.

        Args:
            earlier: ids of the child processes from before.
        """
        started = threading.Event()

        def follow() -> None:
            watched: set[int] = set()
            while not started.wait(_SEARCH_SECONDS):
                fresh = set(_root_pids(earlier)) - watched
                self.name(fresh)
                watched |= fresh

        follower = threading.Thread(target=follow, name="qwen3-rerank-vllm-start", daemon=True)
        follower.start()
        try:
            yield
        finally:
            started.set()
            follower.join()

    def name(self, pids: Iterable[int]) -> None:
        """Have these processes, and what they start, end with this one."""
        lines = "".join(f"{pid}\n" for pid in pids).encode()
        try:
            self._write(lines)
        except OSError:
            logger.warning(
                "The process that ends vLLM's workers with this program has ended with code %s: "
                "end this program with engine.close().",
                self._process.poll(),
            )

    def dismiss(self) -> None:
        """End it, and those of the processes named to it that still run."""
        with contextlib.suppress(OSError):
            # A forked child may hold the pipe open, so that closing it is not enough.
            self._write(watchdog.END_LINE)
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_WATCHDOG_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _write(self, lines: bytes) -> None:
        if lines and self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.write(lines)


class Workers:
    """The processes of a loaded engine, with the watchdog that watches them.

    Args:
        processes: all of them.
        watchdog: watches over this engine and no other.
    """

    def __init__(self, processes: Processes, watchdog: Watchdog) -> None:
        self._processes, self._watchdog = processes, watchdog
        watchdog.name(process.pid for process in processes)

    def end(self, timeout: float) -> None:
        """Kill what has not ended after `timeout` seconds, and end the watchdog."""
        try:
            end_processes(self._processes, timeout=timeout)
        finally:
            self._watchdog.dismiss()
