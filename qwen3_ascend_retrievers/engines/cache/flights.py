"""Pairs that are being scored right now: who asks for the same ones waits for those scores."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from typing import Final

from ..._util.locks import Lock
from ...core.ranking import Score
from ..base import Call

# None: whoever scored it failed, was cancelled, or could not score this one.
Flight = Future[Score | None]


# Seconds between two looks whether a caller who waits for another's scores has cancelled.
_LOOK_SECONDS: Final = 0.1


class Flights:
    """The pairs under way, by their keys, over all threads and event loops."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._under_way: dict[str, Flight] = {}

    def claim(self, keys: Iterable[str]) -> tuple[list[str], dict[str, Flight]]:
        """Those of the keys that the caller has to score and then `land`, and others' flights."""
        own: list[str] = []
        others: dict[str, Flight] = {}
        with self._lock:
            for key in keys:
                flight = self._under_way.get(key)
                if flight is not None:
                    others[key] = flight
                else:
                    self._under_way[key] = Future()
                    own.append(key)
        return own, others

    def land(self, keys: Sequence[str], scores: Mapping[str, Score]) -> None:
        """End the caller's flights: with their scores, or without where there is none."""
        with self._lock:
            ended = [(self._under_way.pop(key), scores.get(key)) for key in keys]
        for flight, score in ended:
            flight.set_result(score)


def wait_landed(flights: Sequence[Flight], call: Call) -> list[Score | None]:
    """The scores of others' flights once all have ended, waiting in this thread.

    Raises:
        RerankCancelled: the caller asked to stop; the flights go on.
    """
    pending: set[Future[Score | None]] = set(flights)
    while pending:
        call.check()
        _, pending = wait(pending, timeout=_LOOK_SECONDS)
    return [flight.result() for flight in flights]


async def await_landed(flights: Sequence[Flight], call: Call) -> list[Score | None]:
    """The same without blocking the event loop."""
    pending = {asyncio.wrap_future(flight) for flight in flights}
    while pending:
        call.check()
        _, pending = await asyncio.wait(pending, timeout=_LOOK_SECONDS)
    return [flight.result() for flight in flights]
