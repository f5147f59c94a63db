"""vLLM's processes below this one, and whether they have ended."""

from __future__ import annotations

import time

import psutil


def engine_processes() -> set[int]:
    """Process ids of all vLLM engines below this process."""
    below = psutil.Process().children(recursive=True)
    return {
        process.pid for process in below if "resource_tracker" not in " ".join(process.cmdline())
    }


def are_gone(pids: set[int]) -> bool:
    """Whether all of these processes end within half a minute."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if not any(psutil.pid_exists(pid) for pid in pids):
            return True
        time.sleep(0.1)
    return False
