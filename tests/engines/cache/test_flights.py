"""Who waits for whose scores, and who must not: loops, forks, failures, interrupts."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from qwen3_ascend_retrievers import CachedEngine, Call, Reranker
from qwen3_ascend_retrievers.core.ranking import Score
from qwen3_ascend_retrievers.engines.cache.flights import Flights, OwnFlights, wait_landed
from qwen3_ascend_retrievers.errors import EngineError
from qwen3_ascend_retrievers.testing import FakeEngine
from support.forks import ends_well_in_a_child
from support.reranker_calls import FunctionEngine, order

DOCUMENTS = ["a cat", "a dog", "cat and dog"]
SECONDS = 30.0


class HeldEngine(FakeEngine):
    """Its first call waits until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.released = threading.Event(), threading.Event()

    def _is_first(self) -> bool:
        first = not self.begun.is_set()
        self.begun.set()
        return first

    def score(self, plan: Any, call: Any) -> list[Score]:
        if self._is_first():
            assert self.released.wait(SECONDS)
        return super().score(plan, call)

    async def ascore(self, plan: Any, call: Any) -> list[Score]:
        if self._is_first():
            assert await asyncio.to_thread(self.released.wait, SECONDS)
        return await super().ascore(plan, call)


async def test_a_sync_call_in_the_loop_that_scores_the_same_pairs_scores_them_itself() -> None:
    engine = HeldEngine()
    reranker = Reranker(CachedEngine(engine))
    first = asyncio.create_task(reranker.arank("cat", DOCUMENTS))
    assert await asyncio.to_thread(engine.begun.wait, SECONDS)
    assert order(reranker.rank("cat", DOCUMENTS)) == [0, 2, 1]
    engine.released.set()
    assert order(await first) == [0, 2, 1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_scores_what_its_parent_is_scoring() -> None:
    engine = HeldEngine()
    reranker = Reranker(CachedEngine(engine))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(reranker.rank, "cat", DOCUMENTS)
        assert engine.begun.wait(SECONDS)
        assert ends_well_in_a_child(lambda: reranker.rank("cat", DOCUMENTS))
        engine.released.set()
        assert order(first.result()) == [0, 2, 1]


def test_nobody_waits_for_a_loop_that_was_stopped() -> None:
    engine = HeldEngine()
    reranker = Reranker(CachedEngine(engine))
    loop = asyncio.new_event_loop()
    first = loop.create_task(reranker.arank("cat", DOCUMENTS))
    loop.run_until_complete(asyncio.sleep(0.1))
    assert engine.begun.is_set()
    assert order(reranker.rank("cat", DOCUMENTS)) == [0, 2, 1]
    engine.released.set()
    assert order(loop.run_until_complete(first)) == [0, 2, 1]
    loop.close()


def test_who_waited_for_a_failure_does_not_wait_for_the_others_failures() -> None:
    waiting = 4
    begun, failing = threading.Event(), threading.Event()
    together = threading.Barrier(waiting)

    def answer(plan: Any, call: Any) -> Any:
        if not begun.is_set():
            begun.set()
            assert failing.wait(SECONDS)
        else:
            # All of them are here at the same time, or this breaks.
            together.wait(SECONDS)
        raise EngineError("the server is down")

    reranker = Reranker(CachedEngine(FunctionEngine(answer), cache_namespace="x"))
    with ThreadPoolExecutor(1 + waiting) as pool:
        calls = [pool.submit(reranker.rank, "cat", DOCUMENTS)]
        assert begun.wait(SECONDS)
        calls += [pool.submit(reranker.rank, "cat", DOCUMENTS) for _ in range(waiting)]
        time.sleep(0.1)
        failing.set()
        for call in calls:
            with pytest.raises(EngineError, match="the server is down"):
                call.result()


def test_flights_whose_caller_is_gone_are_over() -> None:
    # As after an interrupt that came even where they were being ended.
    flights, own = Flights(), OwnFlights()
    assert not flights.claim(["key"], own)
    others = flights.claim(["key"], OwnFlights())
    assert others.keys() == {"key"}
    del own
    assert wait_landed([others["key"]], Call()) == [None]
    assert not flights.claim(["key"], OwnFlights())
