"""Pairs that are being scored right now: who asks for the same ones waits for those scores."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import suppress
from typing import Final

from ..._util.locks import fork_safe_lock
from ...core.ranking import Score
from ..base import Call


class OwnFlights(dict[str, "Flight"]):
    """A caller's flights by their keys: they end, at the latest, when the caller lets go of this.

    So an interrupt at any place, even where they are being ended, leaves nobody waiting.
    """


class Flight(Future[Score | None]):
    """A pair under way. None: who scored it failed, was cancelled, or could not score this one."""

    def __init__(self, own: OwnFlights) -> None:
        super().__init__()
        self._own = weakref.ref(own)
        self._loop = _running_loop()

    @property
    def is_over(self) -> bool:
        """Whether it has landed, or whoever scores it is gone or in a loop that was stopped."""
        stopped = self._loop is not None and not self._loop.is_running()
        return self.done() or stopped or self._own() is None

    @property
    def has_failed(self) -> bool:
        """Whether it is over, and no score came."""
        return self.is_over and self.score() is None

    def score(self) -> Score | None:
        """The score if there is one by now."""
        return self.result() if self.done() else None


# Seconds between two looks whether a caller who waits for another's scores has cancelled.
_LOOK_SECONDS: Final = 0.1


class Flights:
    """The pairs under way, by their keys, over all threads and event loops."""

    def __init__(self) -> None:
        self._lock = fork_safe_lock()
        self._under_way: dict[str, Flight] = {}
        self._pid = os.getpid()

    def claim(self, keys: Iterable[str], own: OwnFlights) -> dict[str, Flight]:
        """Others' flights; those keys that the caller has to score and then `forget` are in `own`.

        `own` is filled here, so that the caller knows of every flight even if this is interrupted.
        """
        others: dict[str, Flight] = {}
        with self._lock:
            # After a fork they are the parent's, and land there.
            if self._pid != os.getpid():
                self._under_way, self._pid = {}, os.getpid()
            for key in keys:
                flight = self._under_way.get(key)
                if flight is not None and not flight.has_failed:
                    others[key] = flight
                else:
                    own[key] = self._under_way[key] = Flight(own)
        return others

    def forget(self, own: Mapping[str, Flight]) -> None:
        """End the caller's flights: those that have not landed have failed."""
        land(own, {})
        with self._lock:
            for key, flight in own.items():
                if self._under_way.get(key) is flight:
                    del self._under_way[key]


def land(own: Mapping[str, Flight], scores: Mapping[str, Score]) -> None:
    """End flights with their scores, or without where there is none; a second time changes nothing.

    A flight that has landed is still found, until its score is in the store and it is forgotten.
    """
    for key, flight in own.items():
        with suppress(InvalidStateError):
            flight.set_result(scores.get(key))


def _running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread, if there is one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def wait_landed(flights: Sequence[Flight], call: Call) -> list[Score | None]:
    """The scores of others' flights once all have ended, waiting in this thread.

    In an event loop, which this would block, they may be its own tasks: it does not wait there.

    Raises:
        RerankCancelled: the caller asked to stop; the flights go on.
    """
    blocks_a_loop = _running_loop() is not None
    while pending := [flight for flight in flights if not (blocks_a_loop or flight.is_over)]:
        call.check()
        wait(pending, timeout=_LOOK_SECONDS)
    return [flight.score() for flight in flights]


async def await_landed(flights: Sequence[Flight], call: Call) -> list[Score | None]:
    """The same without blocking the event loop."""
    landings = {flight: asyncio.wrap_future(flight) for flight in flights}
    while pending := [flight for flight in flights if not flight.is_over]:
        call.check()
        await asyncio.wait([landings[flight] for flight in pending], timeout=_LOOK_SECONDS)
    return [flight.score() for flight in flights]
