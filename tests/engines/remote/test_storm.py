"""2,000 rerank calls of 20 documents while every fifth reply is a fault."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from qwen3_ascend_retrievers import RemoteEngine, Reranker
from qwen3_ascend_retrievers.errors import RemoteError
from support.eventually import eventually
from support.remote_rankings import check_ranking, documents_of
from support.rerank_faults import FINAL, LOST, OVERLOADED, SLOW, WRONG
from support.rerank_server import Fault, ReceivedRequest

CALLS = 1800
# With replicas, of which one hangs.
REPLICATED = 200
RATE = 0.2
TIMEOUT = 1.0
DEADLINE = 8.0
# What a call may take beyond its deadline, besides what the machine itself is late.
EXCESS = 0.5
TASKS, THREADS = 64, 16


@dataclass
class Weather:
    """Chooses faults with a seed of its own.

    Attributes:
        met: how often each fault came.
    """

    dice: random.Random = field(default_factory=lambda: random.Random(7))
    met: Counter[str] = field(default_factory=Counter)
    # Stalls cost the test time and the engine nothing, so they are rarer than the others.
    faults: tuple[Fault, ...] = (LOST + OVERLOADED + FINAL + WRONG) * 4 + SLOW

    def __call__(self, request: ReceivedRequest) -> Fault | None:
        if self.dice.random() >= RATE:
            return None
        fault = self.dice.choice(self.faults)
        self.met[fault.name] += 1
        return fault


class Lateness:
    """How late this machine wakes a thread at most, seen in the same run: the control."""

    def __enter__(self) -> Lateness:
        self.worst = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        pause = 0.05
        while not self._over.is_set():
            began = time.monotonic()
            time.sleep(pause)
            self.worst = max(self.worst, time.monotonic() - began - pause)


@dataclass
class Tally:
    """How the calls ended."""

    right: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, seconds: float, error: RemoteError | None) -> None:
        with self.lock:
            self.longest = max(self.longest, seconds)
            if error is None:
                self.right += 1
            else:
                self.errors[type(error).__name__] += 1


def call(reranker: Reranker, number: int, tally: Tally) -> None:
    query, documents = f"query {number % 10}", documents_of(number)
    began = time.monotonic()
    error = None
    try:
        ranking = reranker.rank(query, documents)
    except RemoteError as caught:
        error = caught
    tally.note(time.monotonic() - began, error)
    if error is None:
        check_ranking(ranking, query, documents)


async def acall(reranker: Reranker, number: int, tally: Tally) -> None:
    query, documents = f"query {number % 10}", documents_of(number)
    began = time.monotonic()
    error = None
    try:
        ranking = await reranker.arank(query, documents)
    except RemoteError as caught:
        error = caught
    tally.note(time.monotonic() - began, error)
    if error is None:
        check_ranking(ranking, query, documents)


async def all_async(reranker: Reranker, numbers: list[int], tally: Tally) -> None:
    async def worker() -> None:
        while numbers:
            await acall(reranker, numbers.pop(), tally)

    await asyncio.gather(*(worker() for _ in range(TASKS)))


def weather_all(reranker: Reranker, calls: int) -> Tally:
    """All calls, half of them async and half in threads; each ends, and in time."""
    tally = Tally()
    with Lateness() as control:
        asyncio.run(all_async(reranker, list(range(calls // 2)), tally))
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda number: call(reranker, number, tally), range(calls // 2, calls)))
    assert tally.right + sum(tally.errors.values()) == calls
    assert tally.right > calls / 2, tally
    # The engine's thread, the server's and the caller's may each be woken late in turn.
    allowed = DEADLINE + EXCESS + 3 * control.worst
    assert tally.longest <= allowed, (tally, control.worst)
    return tally


def test_one_server_in_bad_weather(serve: Any, connect: Any) -> None:
    weather = Weather()
    server = serve(decide=weather)
    before = set(threading.enumerate())
    engine: RemoteEngine = connect(
        server.url, timeout=TIMEOUT, deadline=DEADLINE, max_retries=4, max_connections=32
    )
    weather_all(Reranker(engine), CALLS)
    # The faults were many and varied, and most calls came through all the same.
    assert sum(weather.met.values()) > CALLS * RATE / 2
    assert len(weather.met) == len({fault.name for fault in weather.faults})
    engine.close()
    eventually(lambda: server.idle == 0)
    eventually(lambda: set(threading.enumerate()) <= before)


def test_a_replica_that_hangs_in_bad_weather(serve: Any, connect: Any) -> None:
    hung = serve(decide=lambda request: SLOW[0])
    # Without the final refusals, of which one in a handshake is everybody's.
    faults = (LOST + OVERLOADED + WRONG) * 4 + SLOW
    servers = [serve(decide=Weather(faults=faults)) for _ in range(2)]
    engine: RemoteEngine = connect(
        [hung.url, *(server.url for server in servers)],
        timeout=TIMEOUT,
        # Long, for a loaded machine: who waits for the hung one is seen by its number of requests.
        deadline=60,
        cooldown=1,
        max_connections=32,
    )
    tally = weather_all(Reranker(engine), REPLICATED)
    assert tally.errors["DeadlineExceededError"] < REPLICATED / 20, tally
    # One caller at a time tries it again, and none of the others waits.
    assert 1 <= len(hung.requests) < REPLICATED / 4
