"""What the conformance suites rest on: their texts, and the engine that watches its caller."""

from __future__ import annotations

import asyncio
import threading

import pytest

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.errors import EngineError
from qwen3_ascend_retrievers.testing import CompressorConformance, PostprocessorConformance
from qwen3_ascend_retrievers.testing.conformance import (
    CONFORMANCE_QUERY,
    RIGHT_ORDER,
    SCORES,
    TEXTS,
    WatchedEngine,
)


def test_the_right_order_differs_from_every_simple_one() -> None:
    assert sorted(range(len(TEXTS)), key=lambda at: (-SCORES[TEXTS[at]], at)) == list(RIGHT_ORDER)
    ascending = tuple(range(len(TEXTS)))
    assert RIGHT_ORDER not in (ascending, ascending[::-1])
    assert RIGHT_ORDER[:2] not in (ascending[:2], RIGHT_ORDER[::-1][:2])


async def test_async_calls_from_this_thread_pass() -> None:
    engine = WatchedEngine()
    await Reranker(engine).arank(CONFORMANCE_QUERY, TEXTS)
    engine.check_async()


async def test_sync_calls_fail() -> None:
    engine = WatchedEngine()
    Reranker(engine).rank(CONFORMANCE_QUERY, TEXTS)
    with pytest.raises(AssertionError, match="'sync'"):
        engine.check_async()


def test_calls_from_another_thread_fail() -> None:
    engine = WatchedEngine()
    call = Reranker(engine).arank(CONFORMANCE_QUERY, TEXTS)
    thread = threading.Thread(target=asyncio.run, args=[call])
    thread.start()
    thread.join()
    with pytest.raises(AssertionError, match="another thread"):
        engine.check_async()


def test_no_call_at_all_fails() -> None:
    with pytest.raises(AssertionError, match="none"):
        WatchedEngine().check_async()


def test_a_failing_engine() -> None:
    with pytest.raises(EngineError):
        Reranker(WatchedEngine(fails=True)).rank(CONFORMANCE_QUERY, TEXTS)


@pytest.mark.parametrize("suite", [CompressorConformance, PostprocessorConformance])
def test_a_suite_asks_for_the_component(suite: type) -> None:
    with pytest.raises(NotImplementedError, match="Return your"):
        suite().make(WatchedEngine())
