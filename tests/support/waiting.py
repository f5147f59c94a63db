"""Waits for what happens soon, with patience for a loaded machine."""

from __future__ import annotations

import time
from collections.abc import Callable

_PATIENCE = 60.0


def eventually(holds: Callable[[], bool]) -> None:
    """Assert that `holds` becomes true within a minute."""
    end = time.monotonic() + _PATIENCE
    while not holds():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)
