"""Files that one process at a time has, as far as the system can tell."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import InvalidInputError


def lock_file(handle: int, work: Path) -> None:
    """Lock an open file until it is closed, or the process has ended.

    Args:
        handle: its descriptor.
        work: what the lock is for, to name it in the error.

    Raises:
        InvalidInputError: another process has locked it.
    """
    try:
        import fcntl
    # Windows has none; two processes there would do the same work twice.
    except ImportError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise InvalidInputError(
            f"Another process is at work on {work}. Wait for it, or end it first."
        ) from error


def is_open_at(handle: int, path: Path) -> bool:
    """Whether the open file is the one at `path`, and was not deleted or replaced meanwhile."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
