"""A program that kills vLLM's processes once the program that started them has ended.

vLLM's processes outlive a parent that gets SIGTERM or SIGKILL, and keep the device's memory. They
cannot end themselves in every version, and the parent's signal handlers are the caller's. So a
process of its own watches the parent: nothing is installed in the parent or in vLLM, and it does
not matter how the parent ends. It looks for another parent id instead of asking for a signal at
the parent's death (PR_SET_PDEATHSIG), which comes when the *thread* that started it ends.

It runs by itself (`python -I watchdog.py PARENT FOLDER`, in a session of its own) and so imports
nothing of this package. Its standard input names process ids, one in a line; its end, or the line
"end", asks it to kill what is left of them and their descendants, and to end.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from importlib import import_module
from typing import Any, Final

# Seconds between two checks of the parent, and between two searches for what vLLM has started.
_PARENT_CHECK_SECONDS: Final = 0.2
_SCAN_SECONDS: Final = 5.0
END_LINE: Final = b"end\n"


def watch(parent: int) -> None:
    """Return when the parent has ended or asks for the end; then no vLLM process is left."""
    psutil = import_module("psutil")
    family: set[Any] = set()
    unread, scanned = b"", 0.0
    while True:
        # Checked before the reading: all that an ended parent wrote can then be read.
        ended = os.getppid() != parent
        if select.select([0], [], [], 0 if ended else _PARENT_CHECK_SECONDS)[0]:
            piece = os.read(0, 4096)
            *lines, unread = (unread + piece).split(b"\n")
            family |= _processes_in(psutil, lines)
            scanned = 0.0
            if not piece or END_LINE.strip() in lines:
                break
        elif ended:
            break
        elif family and time.monotonic() - scanned > _SCAN_SECONDS:
            family |= _descendants(psutil, family)
            scanned = time.monotonic()
    _kill_family(psutil, family)


def _processes_in(psutil: Any, lines: list[bytes]) -> set[Any]:
    processes = set()
    for line in lines:
        try:
            processes.add(psutil.Process(int(line)))
        except (ValueError, psutil.NoSuchProcess):
            continue
    return processes


def _descendants(psutil: Any, family: set[Any]) -> set[Any]:
    descendants: set[Any] = set()
    for process in family:
        try:
            descendants.update(process.children(recursive=True))
        except psutil.NoSuchProcess:
            continue
    return descendants


def _kill_family(psutil: Any, family: set[Any]) -> None:
    # Stopped before they are killed: what a process starts between the listing of its children
    # and its death would be nobody's child, and live on.
    stopped: set[Any] = set()
    while family - stopped:
        for process in family - stopped:
            _send_signal(psutil, process, signal.SIGSTOP)
        stopped |= family
        family = family | _descendants(psutil, family)
    for process in family:
        _send_signal(psutil, process, signal.SIGKILL)


def _send_signal(psutil: Any, process: Any, number: int) -> None:
    """Send a signal, but never to another process that has the number of one that ended."""
    try:
        process.send_signal(number)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return


if __name__ == "__main__":
    # A service manager tells every process of a service to end; this one ends after the parent.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sys.path.append(sys.argv[2])
    watch(int(sys.argv[1]))
