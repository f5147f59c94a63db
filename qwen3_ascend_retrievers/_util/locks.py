"""A lock for code that must work in a forked child."""

from __future__ import annotations

import os
import threading
from typing import Final
from weakref import WeakSet


class Lock:
    """A mutual exclusion for `with`, unlocked in a forked child, whoever held it before.

    The thread that holds a lock at the fork is not there in the child, and would never release it.
    """

    def __init__(self) -> None:
        self.renew()
        _ALL.add(self)

    def renew(self) -> None:
        """Replace the lock by an unlocked one."""
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


_ALL: Final[WeakSet[Lock]] = WeakSet()


def _renew_all() -> None:
    for lock in _ALL:
        lock.renew()


# There is no fork on Windows.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
