"""Runs something in a forked child of this process."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable

_TIMEOUT = 60


def ends_well_in_a_child(work: Callable[[], object]) -> bool:
    """Whether `work` returns in a fork of this process; one that hangs is ended after a minute."""
    with warnings.catch_warnings():
        # Python 3.12 warns of any fork beside threads, which is what is tried here.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        signal.alarm(_TIMEOUT)
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0
