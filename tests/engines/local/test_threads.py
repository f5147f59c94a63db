"""One engine, many callers: threads, event loops, cancelling, progress, closing."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qwen3_ascend_retrievers import LocalEngine, Reranker
from qwen3_ascend_retrievers.core.plan import Plan
from qwen3_ascend_retrievers.engines.base import Call
from qwen3_ascend_retrievers.errors import EngineClosedError, RerankCancelled
from support.parity import PAIRS, plan_of
from support.torch_calls import record_torch_calls

QUERIES = [f"question {at} about topic {at % 3}" for at in range(16)]
DOCUMENTS = [f"Passage {at}: topic {at % 3}, and some more." for at in range(10)]


@pytest.fixture
def engine() -> Iterator[LocalEngine]:
    engine = LocalEngine("tiny", device="cpu", batch_tokens=100)
    yield engine
    engine.close()


@pytest.fixture
def plan(tiny_folder: Path) -> Plan:
    return plan_of(tiny_folder)


def test_eight_threads_get_what_one_gets(engine: LocalEngine) -> None:
    reranker = Reranker(engine)
    start = threading.Barrier(8)

    def rank(query: str) -> list[tuple[int, float | None]]:
        return [(result.index, result.logit) for result in reranker.rank(query, DOCUMENTS).results]

    def caller(number: int) -> list[list[tuple[int, float | None]]]:
        start.wait(timeout=60)
        return [rank(query) for query in QUERIES[number::4]]

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(caller, range(8)))
    alone = {query: rank(query) for query in QUERIES}
    for number, got in enumerate(together):
        assert got == [alone[query] for query in QUERIES[number::4]]


def test_engines_that_load_at_once_do_not_spoil_each_other() -> None:
    start = threading.Barrier(6)

    def scores(_: int) -> list[float]:
        with Reranker(LocalEngine("tiny", device="cpu")) as reranker:
            start.wait(timeout=60)
            return reranker.score([("query", document) for document in DOCUMENTS])

    for _ in range(3):
        with ThreadPoolExecutor(6) as pool:
            first, *others = pool.map(scores, range(6))
        assert others == [first] * 5


def test_several_event_loops_and_a_thread(engine: LocalEngine) -> None:
    reranker = Reranker(engine)

    async def ask_all() -> list[list[float]]:
        calls = [
            reranker.ascore([(query, document) for document in DOCUMENTS]) for query in QUERIES[:4]
        ]
        return await asyncio.gather(*calls)

    with ThreadPoolExecutor(3) as pool:
        loops = [pool.submit(lambda: asyncio.run(ask_all())) for _ in range(3)]
        scores = [loop.result(timeout=120) for loop in loops]
    alone = [reranker.score([(query, document) for document in DOCUMENTS]) for query in QUERIES[:4]]
    assert scores == [alone] * 3


async def test_torch_never_runs_on_the_loops_thread(engine: LocalEngine) -> None:
    with record_torch_calls() as calls:
        await Reranker(engine).arank("query", DOCUMENTS)
        await asyncio.to_thread(Reranker(engine).rank, "another", DOCUMENTS)
    assert len(calls.threads) == 1
    assert threading.get_ident() not in calls.threads


async def test_a_cancelled_task_stops_between_batches(engine: LocalEngine, plan: Plan) -> None:
    await engine.afacts()
    entered, go_on = threading.Event(), threading.Event()

    def wait(tokens: int) -> None:
        entered.set()
        assert go_on.wait(timeout=60)

    with record_torch_calls(wait) as calls:
        task = asyncio.create_task(Reranker(engine).ascore(PAIRS))
        await asyncio.to_thread(entered.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        await Reranker(engine).ascore([("query", "document")])
    # The instruction's part, a query's, one batch, and what was asked after that.
    assert len(calls.passes) == 4
    assert len(await engine.ascore(plan, Call())) == len(plan.passages)


def test_a_cancelled_call_stops_between_batches(engine: LocalEngine) -> None:
    cancel = threading.Event()
    with (
        record_torch_calls(lambda tokens: cancel.set()) as calls,
        pytest.raises(RerankCancelled),
    ):
        Reranker(engine).rank("query", DOCUMENTS, cancel=cancel)
    # The instruction's part, the query's, and one batch.
    assert len(calls.passes) == 3


def test_progress_counts_every_passage(engine: LocalEngine, plan: Plan) -> None:
    steps: list[int] = []
    engine.score(plan, Call(progress=steps.append))
    assert sum(steps) == len(plan.passages)
    assert len(steps) > 3


async def test_closing_tells_those_who_wait_at_once(engine: LocalEngine) -> None:
    engine.facts()
    entered, go_on = threading.Event(), threading.Event()

    def wait(tokens: int) -> None:
        entered.set()
        assert go_on.wait(timeout=60)

    with record_torch_calls(wait), ThreadPoolExecutor(4) as pool:
        callers = [pool.submit(Reranker(engine).rank, "query", DOCUMENTS) for _ in range(2)]
        task = asyncio.create_task(Reranker(engine).arank("query", DOCUMENTS))
        assert await asyncio.to_thread(entered.wait, 60)
        closing = pool.submit(engine.close)
        # The batch that is running waits for `go_on`, and closing for the batch.
        with pytest.raises(EngineClosedError):
            await asyncio.wait_for(task, 60)
        for caller in callers:
            with pytest.raises(EngineClosedError):
                await asyncio.to_thread(caller.result, 60)
        assert not closing.done()
        go_on.set()
        closing.result(timeout=60)


def test_a_small_call_waits_for_one_batch_of_a_large_one(engine: LocalEngine) -> None:
    engine.facts()
    entered, go_on = threading.Event(), threading.Event()

    def wait(tokens: int) -> None:
        entered.set()
        assert go_on.wait(timeout=60)

    with record_torch_calls(wait) as calls, ThreadPoolExecutor(2) as pool:
        large = pool.submit(
            Reranker(engine).rank, "query", [f"{document} more" for document in DOCUMENTS]
        )
        assert entered.wait(timeout=60)
        # Neither facts nor tokens wait for the batch that is running.
        engine.encode(["text"])
        small = pool.submit(Reranker(engine).rank, "other", ["a document"])
        worker = engine._copies[0]._worker
        assert worker is not None
        while not worker._work_queue.qsize():
            time.sleep(0.01)
        go_on.set()
        small.result(timeout=60)
        before = len(calls.passes)
        large.result(timeout=60)
    assert before < len(calls.passes)
