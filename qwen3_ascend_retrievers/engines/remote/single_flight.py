"""One piece of work for all who want its result at the same time, in whatever thread and loop.

It runs as a task of its own in the loop of the first who asks, so that nobody's cancellation or
deadline is another's failure. If that loop ends, one of those who wait elsewhere starts anew.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ..._util.locks import Lock

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Result]):
    """How the work ended: a result, an error, or neither if it was abandoned.

    The error is kept as a value, because each who waits must raise one of its own.
    """

    result: Result | None = None
    error: Exception | None = None


@dataclass(slots=True)
class _Flight(Generic[Result]):
    """Work under way.

    Attributes:
        home: the loop that it runs in.
        effort: how often a failed request is tried again in it.
        outcome: set once.
        at_home: how many wait for it in its own loop.
    """

    home: asyncio.AbstractEventLoop
    effort: float
    outcome: Future[Outcome[Result]] = field(default_factory=Future)
    task: asyncio.Task[None] | None = None
    at_home: int = 0
    process: int = field(default_factory=os.getpid)

    def is_stale(self) -> bool:
        """Whether nobody will end it: its loop has stopped, or a fork left it behind."""
        return self.outcome.done() or self.process != os.getpid() or not self.home.is_running()


class SingleFlight(Generic[Result]):
    """Work of which no two run at once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._flight: _Flight[Result] | None = None

    def is_under_way(self) -> bool:
        """Whether somebody would have to wait."""
        flight = self._flight
        return flight is not None and not flight.is_stale()

    async def join(
        self, work: Callable[[], Coroutine[Any, Any, Result]], effort: float = 0
    ) -> Outcome[Result]:
        """How the work that is under way ends, or `work` if there is none.

        Args:
            work: started in this loop if need be.
            effort: a failure after less of it than this does not count, and is tried again.
        """
        loop = asyncio.get_running_loop()
        while True:
            flight = self._board(work, effort, loop)
            try:
                outcome = await asyncio.wrap_future(flight.outcome)
            finally:
                self._leave(flight, loop)
            if outcome.result is not None:
                return outcome
            if outcome.error is not None and flight.effort >= effort:
                return outcome

    def _board(
        self,
        work: Callable[[], Coroutine[Any, Any, Result]],
        effort: float,
        loop: asyncio.AbstractEventLoop,
    ) -> _Flight[Result]:
        with self._lock:
            flight = self._flight
            if flight is None or flight.is_stale():
                flight = self._flight = _Flight(loop, effort)
                # Running futures cannot be cancelled by one of those who wait.
                flight.outcome.set_running_or_notify_cancel()
                flight.task = loop.create_task(self._fly(flight, work))
            flight.at_home += flight.home is loop
            return flight

    def _leave(self, flight: _Flight[Result], loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            if flight.home is not loop:
                return
            flight.at_home -= 1
            deserted = flight.at_home == 0 and not flight.outcome.done()
        if deserted and flight.task is not None and not loop.is_closed():
            flight.task.cancel()
        if deserted:
            self._land(flight, Outcome())

    async def _fly(
        self, flight: _Flight[Result], work: Callable[[], Coroutine[Any, Any, Result]]
    ) -> None:
        outcome: Outcome[Result] = Outcome()
        try:
            outcome = Outcome(await work())
        except Exception as error:
            outcome = Outcome(error=error)
        finally:
            self._land(flight, outcome)

    def _land(self, flight: _Flight[Result], outcome: Outcome[Result]) -> None:
        with self._lock:
            if self._flight is flight:
                self._flight = None
            if not flight.outcome.done():
                flight.outcome.set_result(outcome)
