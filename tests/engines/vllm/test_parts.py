"""VLLMEngine's parts by themselves: host of the loop, log suppression at the start. No vLLM."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from pathlib import Path

import pytest

from qwen3_ascend_retrievers.engines.vllm.host import ModelHost
from qwen3_ascend_retrievers.engines.vllm.logs import startup_environment, traceback_summary
from qwen3_ascend_retrievers.errors import EngineClosedError, EngineError


class Loadable:
    """What a host loads: counts, and notes its end."""

    def __init__(self) -> None:
        self.loads = 0
        self.unloads = 0
        self.interrupts = 0

    async def load(self) -> Loadable:
        self.loads += 1
        return self

    def unload(self, _: Loadable) -> None:
        self.unloads += 1

    def interrupt(self) -> None:
        self.interrupts += 1

    def host(self) -> ModelHost[Loadable]:
        return ModelHost(self.load, self.unload, self.interrupt)


async def loads(loadable: Loadable) -> int:
    await asyncio.sleep(0)
    return loadable.loads


async def forever(_: Loadable) -> int:
    await asyncio.sleep(3600)
    return 0


def test_threads_load_once() -> None:
    loadable = Loadable()
    host = loadable.host()
    results: list[int] = []
    threads = [threading.Thread(target=lambda: results.append(host.run(loads))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    host.stop()
    host.stop()
    assert results == [1] * 16
    assert loadable.unloads == 1


def test_two_loops_share_a_host() -> None:
    loadable = Loadable()
    host = loadable.host()
    assert [asyncio.run(host.arun(loads)) for _ in range(2)] == [1, 1]
    host.stop()


def test_stopping_ends_what_runs() -> None:
    loadable = Loadable()
    host = loadable.host()
    host.run(loads)
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            host.run(forever)
        except EngineClosedError as error:
            caught.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    host.stop()
    waiting.join(30)
    assert len(caught) == 1
    assert loadable.unloads == 1


async def test_stopping_ends_async_callers_too() -> None:
    host = Loadable().host()
    await host.arun(loads)
    task = asyncio.create_task(host.arun(forever))
    await asyncio.sleep(0)
    await asyncio.to_thread(host.stop)
    with pytest.raises(EngineClosedError):
        await task


async def test_callers_learn_of_closing_before_the_unloading_ends() -> None:
    callers_ended = threading.Event()

    class Slow(Loadable):
        def unload(self, loadable: Loadable) -> None:
            assert callers_ended.wait(60)
            super().unload(loadable)

    started = threading.Semaphore(0)

    async def noted(loadable: Loadable) -> int:
        started.release()
        return await forever(loadable)

    loadable = Slow()
    host = loadable.host()
    await host.arun(loads)
    threads = [asyncio.create_task(asyncio.to_thread(host.run, noted)) for _ in range(3)]
    loop = asyncio.create_task(asyncio.to_thread(asyncio.run, host.arun(noted)))
    here = asyncio.create_task(host.arun(noted))
    for _ in range(5):
        assert await asyncio.to_thread(started.acquire, timeout=60)
    closing = asyncio.create_task(asyncio.to_thread(host.stop))
    for caller in (*threads, loop, here):
        with pytest.raises(EngineClosedError):
            await asyncio.wait_for(caller, 60)
    assert not closing.done()
    callers_ended.set()
    await closing
    assert loadable.unloads == 1


async def test_a_cancelled_caller_cancels_its_own_work_only() -> None:
    ended = threading.Event()

    async def noted(loadable: Loadable) -> int:
        try:
            return await forever(loadable)
        finally:
            ended.set()

    host = Loadable().host()
    await host.arun(loads)
    task = asyncio.create_task(host.arun(noted))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(ended.wait, 30)
    assert await host.arun(loads) == 1
    await asyncio.to_thread(host.stop)


def test_stopping_interrupts_a_load() -> None:
    begun, broken = threading.Event(), threading.Event()

    class Slow(Loadable):
        async def load(self) -> Loadable:
            begun.set()
            # Blocks the loop, as vLLM's start does, until its processes are killed.
            assert broken.wait(30)
            raise EngineError("vLLM could not start")

        def interrupt(self) -> None:
            broken.set()

    host = Slow().host()
    caught: list[BaseException] = []

    def use() -> None:
        try:
            host.run(loads)
        except (EngineError, EngineClosedError) as error:
            caught.append(error)

    user = threading.Thread(target=use)
    user.start()
    assert begun.wait(30)
    host.stop()
    user.join(30)
    assert len(caught) == 1


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_after_a_fork_it_says_so() -> None:
    loadable = Loadable()
    host = loadable.host()
    host.run(loads)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            host.run(loads)
        except EngineError as error:
            os.write(write, str(error).encode())
        host.stop()
        os._exit(0)
    os.waitpid(child, 0)
    assert b"before the process forked" in os.read(read, 1000)
    os.close(read)
    os.close(write)
    assert host.run(loads) == 1
    host.stop()
    assert loadable.unloads == 1


def test_the_environment_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_WORKER_MULTIPROC_METHOD", "fork")
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    monkeypatch.delenv("VLLM_LOGGING_CONFIG_PATH", raising=False)
    variables = {"VLLM_WORKER_MULTIPROC_METHOD": "spawn", "VLLM_CPU_KVCACHE_SPACE": "4"}
    before = dict(os.environ)
    with startup_environment(variables):
        assert os.environ["VLLM_WORKER_MULTIPROC_METHOD"] == "fork"
        assert os.environ["VLLM_CPU_KVCACHE_SPACE"] == "4"
        config = json.loads(Path(os.environ["VLLM_LOGGING_CONFIG_PATH"]).read_text())
        assert config["handlers"]["stderr"]["stream"] == "ext://sys.stderr"
    assert dict(os.environ) == before


def test_the_first_error_is_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    from logging.config import dictConfig

    monkeypatch.delenv("VLLM_LOGGING_CONFIG_PATH", raising=False)
    log = logging.getLogger("vllm")
    saved = log.handlers, log.level, log.propagate
    with startup_environment({}) as startup_log:
        assert startup_log.cause() is None
        dictConfig(json.loads(Path(os.environ["VLLM_LOGGING_CONFIG_PATH"]).read_text()))
        try:
            raise MemoryError("the KV cache does not fit")
        except MemoryError:
            log.exception("EngineCore failed to start.")
        log.error("RuntimeError: a later one")
        cause = startup_log.cause()
        assert cause is not None
        assert cause.startswith("MemoryError: the KV cache does not fit (")
        assert cause.endswith(", in test_the_first_error_is_the_cause)")
    assert not any(isinstance(handler, logging.FileHandler) for handler in log.handlers)
    log.handlers, log.level, log.propagate = saved


def test_the_callers_logging_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CONFIGURE_LOGGING", "0")
    monkeypatch.delenv("VLLM_LOGGING_CONFIG_PATH", raising=False)
    with startup_environment({}) as startup_log:
        assert "VLLM_LOGGING_CONFIG_PATH" not in os.environ
        assert startup_log.cause() is None


WORKER = """\
(Worker pid=7) ERROR Worker failed
(Worker pid=7) Traceback (most recent call last):
(Worker pid=7)   File "/v/site-packages/vllm/v1/executor.py", line 10, in run
(Worker pid=7)     work()
(Worker pid=7)     ^^^^^^
(Worker pid=7)   File "/v/site-packages/vllm/worker.py", line 77, in load_model
(Worker pid=7)     assert rows == columns
(Worker pid=7) AssertionError
EngineCore failed to start.
Traceback (most recent call last):
  File "/v/site-packages/vllm/core.py", line 3, in run
    raise RuntimeError("Worker failed with error '', see above.")
RuntimeError: Worker failed with error '', see above.
"""
CHAINED = """\
Traceback (most recent call last):
  File "/app/a.py", line 1, in first
    1 / 0
ZeroDivisionError: division by zero

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/app/b.py", line 2, in second
    raise vllm.errors.Refusal("no memory") from None
vllm.errors.Refusal: no memory
of any kind
RuntimeError: of another record
"""


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (WORKER, "AssertionError (vllm/worker.py, line 77, in load_model)"),
        (
            CHAINED,
            "ZeroDivisionError: division by zero (/app/a.py, line 1, in first); then "
            "Refusal: no memory (/app/b.py, line 2, in second)",
        ),
        ("ERROR something\n", None),
        ("", None),
        ("Traceback (most recent call last):\n", None),
    ],
)
def test_the_reason_of_a_failed_start(log: str, reason: str | None) -> None:
    assert traceback_summary(log) == reason
