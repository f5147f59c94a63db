"""vLLM's processes: which they are, and how they are ended for certain.

vLLM's own shutdown waits a few seconds and may leave a worker of a killed engine behind.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

# Process objects of psutil, which vLLM depends on.
Processes = Sequence[Any]


def engine_processes(known: Iterable[int] = ()) -> list[Any]:
    """This process's vLLM engines and all their descendants, but those of the ids `known`."""
    psutil = import_module("psutil")
    others = set(known)
    found: list[Any] = []
    for child in multiprocessing.active_children():
        if child.pid is None or child.pid in others or not child.name.startswith("EngineCore"):
            continue
        try:
            root = psutil.Process(child.pid)
            found += [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
    return found


def end(processes: Processes, *, patience: float) -> None:
    """Kill those of `processes` that have not ended after `patience` seconds, and wait."""
    psutil = import_module("psutil")
    _, alive = psutil.wait_procs(processes, timeout=patience)
    for one in alive:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=5)
    # Collects the exit states, so that no zombie stays.
    multiprocessing.active_children()
