"""Waiting for work that an engine does elsewhere, in a loop or thread of its own.

Callers in any thread and any event loop wait for a future of their own, not for the work's: so they
learn at once that the engine is being closed, however long the work takes to end after that.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, TypeVar

from .._util.locks import fork_safe_lock
from ..errors import EngineClosedError

Result = TypeVar("Result")


def closed_error() -> EngineClosedError:
    """What a caller gets whose engine ended before or during the call."""
    return EngineClosedError("The engine was closed. Make a new one.")


class Callers:
    """All who wait for one engine."""

    def __init__(self) -> None:
        self._lock = fork_safe_lock()
        self._waiting: set[Future[Any]] = set()
        self._pid = os.getpid()

    def promise(self, work: Future[Result]) -> Future[Result]:
        """A future that ends as `work` does, or when the callers are dismissed.

        It ends in EngineClosedError if `work` was cancelled by the engine. Cancelling it cancels
        `work`.
        """
        promise: Future[Result] = Future()

        def forget(_: Future[Result]) -> None:
            with self._lock:
                self._waiting.discard(promise)
            if not work.done():
                work.cancel()

        with self._lock:
            if self._pid != os.getpid():
                self._waiting, self._pid = set(), os.getpid()
            self._waiting.add(promise)
        promise.add_done_callback(forget)
        work.add_done_callback(lambda ended: settle(promise, ended))
        return promise

    def dismiss(self) -> None:
        """End every wait in EngineClosedError."""
        # After a fork they are the parent's.
        if self._pid != os.getpid():
            return
        with self._lock:
            waiting = self._waiting.copy()
        for promise in waiting:
            with suppress(InvalidStateError):
                promise.set_exception(closed_error())


def wait(promise: Future[Result]) -> Result:
    """The result, waiting in this thread; interrupting the wait cancels the work.

    Raises:
        EngineClosedError: the engine was closed first.
    """
    try:
        return promise.result()
    except BaseException:
        promise.cancel()
        raise


async def wait_async(promise: Future[Result]) -> Result:
    """The result, without blocking the caller's loop; cancelling the task cancels the work.

    Raises:
        EngineClosedError: the engine was closed first.
    """
    return await asyncio.wrap_future(promise)


def settle(promise: Future[Result], work: Future[Result] | asyncio.Task[Result]) -> None:
    """End `promise` as `work` has ended, in EngineClosedError if it was cancelled."""
    # The caller may have stopped waiting, or been dismissed, at this very moment.
    with suppress(InvalidStateError):
        if work.cancelled():
            promise.set_exception(closed_error())
        elif error := work.exception():
            promise.set_exception(error)
        else:
            promise.set_result(work.result())
