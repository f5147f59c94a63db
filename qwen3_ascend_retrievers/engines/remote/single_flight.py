"""One task for all callers that need its result at the same time, in whatever thread and loop.

It runs as a task of its own in the first caller's loop, so that one caller's cancellation or
deadline is not another's failure. If that loop ends, a caller that waits elsewhere starts again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ..._util.locks import fork_safe_lock

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class SharedOutcome(Generic[Result]):
    """How the work ended: a result, an error, or neither if it was abandoned.

    The error is a value, because each caller that waits must raise a copy of its own.
    """

    result: Result | None = None
    error: Exception | None = None


@dataclass(slots=True)
class _SharedTask(Generic[Result]):
    """Work under way.

    Attributes:
        loop: the loop that it runs in.
        effort: how often a failed request is tried again in it.
        outcome: set once.
        local_waiters: how many callers wait for it in its own loop.
        process: the process that it runs in.
    """

    loop: asyncio.AbstractEventLoop
    effort: float
    outcome: Future[SharedOutcome[Result]] = field(default_factory=Future)
    task: asyncio.Task[None] | None = None
    local_waiters: int = 0
    process: int = field(default_factory=os.getpid)

    def is_stale(self) -> bool:
        """Whether it is over, or never ends: its loop has stopped, or it is of another process."""
        return self.outcome.done() or self.process != os.getpid() or not self.loop.is_running()


class SingleFlight(Generic[Result]):
    """Work of which no two run at once."""

    def __init__(self) -> None:
        self._lock = fork_safe_lock()
        self._shared: _SharedTask[Result] | None = None

    def is_under_way(self) -> bool:
        """Whether a caller would have to wait."""
        shared = self._shared
        return shared is not None and not shared.is_stale()

    async def join(
        self, work: Callable[[], Coroutine[Any, Any, Result]], effort: float = 0
    ) -> SharedOutcome[Result]:
        """How the work that is under way ends, or `work` if there is none.

        Args:
            work: started in this loop if need be.
            effort: a failure after less of it than this does not count, and is tried again.
        """
        loop = asyncio.get_running_loop()
        while True:
            shared = self._join_or_start(work, effort, loop)
            try:
                outcome = await asyncio.wrap_future(shared.outcome)
            finally:
                self._leave(shared, loop)
            if outcome.result is not None:
                return outcome
            if outcome.error is not None and shared.effort >= effort:
                return outcome

    def _join_or_start(
        self,
        work: Callable[[], Coroutine[Any, Any, Result]],
        effort: float,
        loop: asyncio.AbstractEventLoop,
    ) -> _SharedTask[Result]:
        with self._lock:
            shared = self._shared
            if shared is None or shared.is_stale():
                shared = self._shared = _SharedTask(loop, effort)
                # A running future cannot be cancelled by one of the callers that wait.
                shared.outcome.set_running_or_notify_cancel()
                shared.task = loop.create_task(self._run(shared, work))
            shared.local_waiters += shared.loop is loop
            return shared

    def _leave(self, shared: _SharedTask[Result], loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            if shared.loop is not loop:
                return
            shared.local_waiters -= 1
            abandoned = shared.local_waiters == 0 and not shared.outcome.done()
        if abandoned and shared.task is not None and not loop.is_closed():
            shared.task.cancel()
        if abandoned:
            self._finish(shared, SharedOutcome())

    async def _run(
        self, shared: _SharedTask[Result], work: Callable[[], Coroutine[Any, Any, Result]]
    ) -> None:
        outcome: SharedOutcome[Result] = SharedOutcome()
        try:
            outcome = SharedOutcome(await work())
        except Exception as error:
            outcome = SharedOutcome(error=error)
        finally:
            self._finish(shared, outcome)

    def _finish(self, shared: _SharedTask[Result], outcome: SharedOutcome[Result]) -> None:
        with self._lock:
            if self._shared is shared:
                self._shared = None
            if not shared.outcome.done():
                shared.outcome.set_result(outcome)
