"""A lock for code that must work in a forked child."""

from __future__ import annotations

import os
import threading
from typing import Final
from weakref import WeakSet


def fork_safe_lock() -> threading.Lock:
    """A lock that is free in a forked child, whoever held it before.

    The thread that holds a lock at the fork is not there in the child, and would never release it.
    It is Python's own lock, and no class around it: a Ctrl-C between that class's own `acquire` and
    its return would leave it held for ever.
    """
    lock = threading.Lock()
    _ALL.add(lock)
    return lock


_ALL: Final[WeakSet[threading.Lock]] = WeakSet()


def _renew_all() -> None:
    for lock in _ALL:
        # What the standard library's own logging and threading do.
        lock._at_fork_reinit()  # type: ignore[attr-defined]


# There is no fork on Windows.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
