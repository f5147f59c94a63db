"""What a LoopThread leaves behind, and what an interrupt at a bad moment does to its work."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from qwen3_ascend_retrievers.engines.loop_thread import LoopThread, end_tasks
from qwen3_ascend_retrievers.engines.waiting import Callers
from qwen3_ascend_retrievers.errors import EngineClosedError

SECONDS = 30.0


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    thread = LoopThread("loop", end_tasks, join_seconds=SECONDS)
    yield thread
    thread.stop()


@pytest.fixture
def no_collection() -> Iterator[None]:
    """The garbage collector does not run by itself."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection")
def test_no_task_is_left_to_the_garbage_collector(thread: LoopThread) -> None:
    # Its weak reference's callback would run in any thread, and swallow a Ctrl-C in the main one.
    freed = threading.Event()

    async def work() -> str:
        task = asyncio.current_task()
        assert task is not None
        weakref.finalize(task, freed.set)
        return "result"

    assert thread.run(work()) == "result"
    assert freed.wait(SECONDS)


def test_an_interrupt_after_the_start_cancels_the_work(
    thread: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, cancelled = threading.Event(), threading.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.sleep(SECONDS)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    def interrupted(_: Callers, __: Future[Any]) -> None:
        assert begun.wait(SECONDS)
        raise KeyboardInterrupt

    monkeypatch.setattr(Callers, "promise", interrupted)
    with pytest.raises(KeyboardInterrupt):
        thread.run(work())
    assert cancelled.wait(SECONDS)


def test_an_interrupt_before_the_start_closes_the_work(
    thread: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    # The loop is known, and nothing is in it yet.
    monkeypatch.setattr(asyncio.BaseEventLoop, "call_soon_threadsafe", interrupted)
    work = asyncio.sleep(0)
    with pytest.raises(KeyboardInterrupt):
        thread.run(work)
    thread.stop()
    assert work.cr_frame is None


def test_a_stopped_one_closes_the_work(thread: LoopThread) -> None:
    thread.stop()
    work = asyncio.sleep(0)
    with pytest.raises(EngineClosedError):
        thread.run(work)
    assert work.cr_frame is None
