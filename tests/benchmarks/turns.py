"""Contenders are asked whether they agree, and timed in turns.

A contender that cannot be built, fails, or ranks otherwise than the first is refused with a reason
and never timed.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from benchmarks.contenders import AsyncContender, Contender, Indexes
from benchmarks.server import CannedProcess

Either = TypeVar("Either", Contender, AsyncContender)
Turn = TypeVar("Turn")
_MAX_REASON = 160


@dataclass
class Samples:
    """What a contender took, for one call, turn by turn.

    Attributes:
        seconds: by the clock.
        cpu_seconds: of this process's CPU.
        server_cpu_seconds: of the server's.
        requests: requests of a call in its last turn.
        most_at_once: requests that the server had under way at once, at most, in its last turn.
    """

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    server_cpu_seconds: list[float] = field(default_factory=list)
    requests: float = 0.0
    most_at_once: float = 0.0


class NoServer:
    """In the place of a server, for contenders that send nothing."""

    def served(self) -> dict[str, float]:
        """Nothing."""
        return {"cpu_seconds": 0.0, "requests": 0, "most_at_once": 0}


class Turns:
    """Times turns, and keeps the reasons why a contender has none.

    Args:
        server: whose requests and CPU are noted.
    """

    def __init__(self, server: CannedProcess | NoServer) -> None:
        self._server = server
        self._samples: dict[str, Samples] = {}
        self.refused: dict[str, str] = {}

    def build(self, builders: Mapping[str, Callable[[], Either]]) -> list[Either]:
        """The contenders that can be built, in their order."""
        contenders = []
        for name, builder in builders.items():
            try:
                contenders.append(builder())
            except Exception as error:
                self.refused[name] = reason_of(error)
        return contenders

    def agreeing(self, contenders: Sequence[Contender]) -> list[Contender]:
        """Those that rank as the first one does."""
        expected = contenders[0].rank()
        return [contender for contender in contenders if self._agrees(contender, expected)]

    def _agrees(self, contender: Contender, expected: Indexes) -> bool:
        try:
            indexes = contender.rank()
        except Exception as error:
            self.refused[contender.name] = reason_of(error)
            return False
        return self.check(contender.name, indexes, expected)

    def check(self, name: str, indexes: Indexes, expected: Indexes) -> bool:
        """Whether a contender's order is the expected one; else it is refused."""
        if indexes != expected:
            self.refused[name] = f"ranks {indexes}, not {expected}"
        return indexes == expected

    def take(self, contenders: Sequence[Contender], rounds: int, repeats: int) -> None:
        """Time each one once a round; each round begins with another."""
        for contender in in_turns(contenders, rounds):
            contender.rank()
            with self.timed(contender.name, repeats):
                for _ in range(repeats):
                    contender.rank()

    async def take_async(
        self, contenders: Sequence[AsyncContender], rounds: int, calls: int, expected: Indexes
    ) -> None:
        """Time `calls` calls at once of each, once a round; those that fail or differ drop out."""
        for contender in contenders:
            self._check_all(contender, await gathered(contender, 1), expected)
        for contender in in_turns(contenders, rounds):
            if contender.name in self.refused:
                continue
            # Connections that expired during the others' turns are opened again, untimed.
            await gathered(contender, max(1, calls // 10))
            with self.timed(contender.name, calls):
                rankings = await gathered(contender, calls)
            self._check_all(contender, rankings, expected)

    def _check_all(
        self,
        contender: AsyncContender,
        rankings: Sequence[Indexes | BaseException],
        expected: Indexes,
    ) -> None:
        for indexes in rankings:
            if isinstance(indexes, BaseException):
                self.refused[contender.name] = reason_of(indexes)
            elif contender.name not in self.refused:
                self.check(contender.name, indexes, expected)

    @contextmanager
    def timed(self, name: str, calls: int) -> Iterator[None]:
        """One turn of so many calls."""
        # One contender's garbage must not be collected in another's time.
        gc.collect()
        before = self._server.served()
        cpu, seconds = time.process_time(), time.perf_counter()
        yield
        seconds, cpu = time.perf_counter() - seconds, time.process_time() - cpu
        after = self._server.served()
        samples = self._samples.setdefault(name, Samples())
        samples.seconds.append(seconds / calls)
        samples.cpu_seconds.append(cpu / calls)
        spent = after["cpu_seconds"] - before["cpu_seconds"]
        samples.server_cpu_seconds.append(spent / calls)
        samples.requests = (after["requests"] - before["requests"]) / calls
        samples.most_at_once = after["most_at_once"]

    def record(self, *, dropped: int = 1) -> dict[str, Any]:
        """All samples without each contender's first turns, and who was refused, as JSON."""
        kept = {name: s for name, s in self._samples.items() if name not in self.refused}
        for samples in kept.values():
            for values in (samples.seconds, samples.cpu_seconds, samples.server_cpu_seconds):
                del values[:dropped]
        return {
            "samples": {name: asdict(samples) for name, samples in kept.items()},
            "refused": self.refused,
        }


def in_turns(contenders: Sequence[Turn], rounds: int) -> Iterator[Turn]:
    """Each contender once a round, each round beginning with the next."""
    for number in range(rounds):
        first = number % len(contenders)
        yield from (*contenders[first:], *contenders[:first])


async def gathered(contender: AsyncContender, calls: int) -> list[Indexes | BaseException]:
    """So many calls at once; a failure takes its call's place."""
    return await asyncio.gather(*(contender.rank() for _ in range(calls)), return_exceptions=True)


def reason_of(error: BaseException) -> str:
    """The error for a table's cell."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= _MAX_REASON else f"{text[:_MAX_REASON]}..."
