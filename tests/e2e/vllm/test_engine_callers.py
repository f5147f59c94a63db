"""Many callers on one real engine: threads, tasks, loops; cancelled ones, and a bad prompt."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qwen3_ascend_retrievers import Ranking, Reranker, VLLMEngine
from qwen3_ascend_retrievers.core.plan import Passage, Plan, Query
from qwen3_ascend_retrievers.engines.base import Call
from qwen3_ascend_retrievers.errors import (
    EngineClosedError,
    EngineError,
    RerankCancelled,
    TooLongError,
)

Start = Callable[..., VLLMEngine]
Job = tuple[str, list[str]]

WORDS = ("capital", "town", "egg", "water", "boil", "China", "Beijing", "planet", "river", "北京")


@pytest.fixture(scope="module")
def engine(start: Start, tiny_folder: Path) -> VLLMEngine:
    return start(tiny_folder, "float32")


@pytest.fixture(scope="module")
def jobs() -> list[Job]:
    """40 queries of 3 to 9 documents."""
    chance = random.Random(7)

    def text(words: int) -> str:
        return " ".join(chance.choices(WORDS, k=words))

    return [(text(5), [text(12) for _ in range(chance.randint(3, 9))]) for _ in range(40)]


@pytest.fixture(scope="module")
def expected(engine: VLLMEngine, jobs: list[Job]) -> list[list[float]]:
    """Their logits, asked one after another."""
    return [logits(Reranker(engine).rank(*job)) for job in jobs]


def logits(ranking: Ranking) -> list[float]:
    """By input position."""
    by_position = {result.index: result.logit for result in ranking.results}
    return [by_position[at] or 0.0 for at in range(len(by_position))]


def test_sixteen_threads(engine: VLLMEngine, jobs: list[Job], expected: list[list[float]]) -> None:
    def work(seed: int) -> None:
        for at in random.Random(seed).choices(range(len(jobs)), k=20):
            got = logits(Reranker(engine).rank(*jobs[at]))
            assert got == pytest.approx(expected[at], abs=1e-4)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))


def test_sixty_four_tasks_in_each_of_two_loops(
    engine: VLLMEngine, jobs: list[Job], expected: list[list[float]]
) -> None:
    async def all_of_them() -> None:
        places = [at % len(jobs) for at in range(64)]
        got = await asyncio.gather(*(Reranker(engine).arank(*jobs[at]) for at in places))
        for at, ranking in zip(places, got, strict=True):
            assert logits(ranking) == pytest.approx(expected[at], abs=1e-4)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(asyncio.run, (all_of_them() for _ in range(2))))


def many(chance: random.Random) -> list[str]:
    """Documents for more than a second of work."""
    return [" ".join(chance.choices(WORDS, k=300)) for _ in range(1500)]


def unfinished(engine: VLLMEngine) -> int:
    loaded = engine._host.loaded
    assert loaded is not None
    return int(loaded.engine.output_processor.get_num_unfinished_requests())


def wait_for_some(engine: VLLMEngine) -> None:
    while not unfinished(engine):
        time.sleep(0.01)


def wait_for_none(engine: VLLMEngine) -> None:
    deadline = time.monotonic() + 60
    while unfinished(engine) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert unfinished(engine) == 0


async def test_a_cancelled_task_aborts_its_requests_only(
    engine: VLLMEngine, jobs: list[Job], expected: list[list[float]]
) -> None:
    big = asyncio.create_task(Reranker(engine).arank("egg", many(random.Random(1))))
    await asyncio.to_thread(wait_for_some, engine)
    other = asyncio.create_task(Reranker(engine).arank(*jobs[0]))
    await asyncio.sleep(0)
    big.cancel()
    with pytest.raises(asyncio.CancelledError):
        await big
    assert logits(await other) == pytest.approx(expected[0], abs=1e-4)
    await asyncio.to_thread(wait_for_none, engine)


def test_a_cancelled_call_stops(engine: VLLMEngine) -> None:
    cancel = threading.Event()
    threading.Timer(0.3, cancel.set).start()
    with pytest.raises(RerankCancelled):
        Reranker(engine).rank("egg", many(random.Random(2)), cancel=cancel)
    wait_for_none(engine)


def test_a_small_call_takes_turns_with_a_large_one(
    engine: VLLMEngine, jobs: list[Job], expected: list[list[float]]
) -> None:
    passages = tuple(Passage(0, "d", (0, 1), (at % 1000, at // 1000) * 30) for at in range(2000))
    places = tuple((at,) for at in range(len(passages)))
    plan = Plan((Query("q", "i", "p", tuple(range(100, 180))),), passages, places)
    scored: list[int] = []
    with ThreadPoolExecutor(1) as pool:
        large = pool.submit(engine.score, plan, Call(progress=scored.append))
        while not scored and not large.done():
            time.sleep(0.01)
        before = sum(scored)
        small = logits(Reranker(engine).rank(*jobs[0]))
        meanwhile = sum(scored) - before
        assert len(large.result(timeout=300)) == sum(scored) == len(passages)
    assert small == pytest.approx(expected[0], abs=1e-4)
    assert meanwhile < len(passages) / 3, "the small call waited for the large one"


def test_callers_learn_of_closing_at_once(tiny_folder: Path) -> None:
    engine = VLLMEngine(str(tiny_folder), "float32", 512, enforce_eager=True, self_check=False)
    engine.facts()
    reranker, callers_ended = Reranker(engine), threading.Semaphore(0)

    def call(number: int) -> None:
        documents = many(random.Random(number))

        async def rank_here() -> None:
            await reranker.arank("egg", documents)

        with pytest.raises(EngineClosedError):
            reranker.rank("egg", documents) if number % 2 else asyncio.run(rank_here())
        callers_ended.release()

    with ThreadPoolExecutor(5) as pool:
        callers = [pool.submit(call, number) for number in range(4)]
        wait_for_some(engine)
        loaded = engine._host.loaded
        closing = pool.submit(engine.close)
        for _ in callers:
            assert callers_ended.acquire(timeout=60)
        assert loaded is not None
        before_the_end = not closing.done()
        closing.result(timeout=120)
        for caller in callers:
            caller.result()
    assert before_the_end, "the callers were told after vLLM had ended"


def too_long() -> Plan:
    """A plan with a prompt that exceeds the engine's maximum, among good ones."""
    query = Query("q", "i", "p", tuple(range(100, 120)))
    lengths = (5, 600, 5, 5)
    passages = tuple(Passage(0, "d", (0, 1), tuple(range(200, 200 + n))) for n in lengths)
    return Plan((query,), passages, tuple((at,) for at in range(len(lengths))))


def test_a_bad_prompt_fails_its_caller_only(
    engine: VLLMEngine, jobs: list[Job], expected: list[list[float]]
) -> None:
    with pytest.raises(EngineError, match="refused a prompt of 620 tokens"):
        engine.score(too_long(), Call())
    with pytest.raises(TooLongError):
        Reranker(engine, overflow="error").rank("egg", ["water " * 2000])
    assert logits(Reranker(engine).rank(*jobs[1])) == pytest.approx(expected[1], abs=1e-4)
    wait_for_none(engine)


def test_progress_counts_every_passage(engine: VLLMEngine, jobs: list[Job]) -> None:
    counts: list[int] = []
    query, documents = jobs[2]
    plan = Plan(
        (Query(query, "", "", tuple(range(100, 150))),),
        tuple(Passage(0, text, (0, 1), (at + 300,) * 9) for at, text in enumerate(documents)),
        tuple((at,) for at in range(len(documents))),
    )
    engine.score(plan, Call(progress=counts.append))
    assert sum(counts) == len(documents)
