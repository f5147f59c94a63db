"""Waits until a condition holds, long enough for a loaded machine."""

from __future__ import annotations

import time
from collections.abc import Callable

_TIMEOUT = 60.0


def eventually(holds: Callable[[], bool]) -> None:
    """Assert that `holds` becomes true within a minute."""
    deadline = time.monotonic() + _TIMEOUT
    while not holds():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)
