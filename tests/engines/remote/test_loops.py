"""Threads, event loops, cancellation, closing, and what must not be left behind."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from typing import Any

import httpx
import pytest

from qwen3_ascend_retrievers import RemoteEngine, Reranker
from qwen3_ascend_retrievers.engines.remote.failover import THREAD_NAME
from qwen3_ascend_retrievers.errors import EngineClosedError, InvalidInputError, RerankCancelled
from support.eventually import eventually
from support.remote_rankings import DOCUMENTS, QUERY, check_ranking
from support.rerank_faults import SLOW

STALL = SLOW[0]


def loop_threads() -> int:
    return sum(one.name == THREAD_NAME for one in threading.enumerate())


def test_several_runs_and_threads_share_one_pool(serve: Any, connect: Any) -> None:
    server = serve()
    reranker = Reranker(connect(server.url, max_connections=4))
    for _ in range(3):
        check_ranking(asyncio.run(reranker.arank(QUERY, DOCUMENTS)))
    failures: list[BaseException] = []

    def work(how: str) -> None:
        try:
            for _ in range(3):
                if how == "sync":
                    check_ranking(reranker.rank(QUERY, DOCUMENTS))
                else:
                    check_ranking(asyncio.run(reranker.arank(QUERY, DOCUMENTS)))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(("sync", "async")[at % 2],)) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert server.most_idle <= 4


async def test_64_calls_share_one_pool_and_one_handshake(serve: Any, connect: Any) -> None:
    server = serve()
    reranker = Reranker(connect(server.url, max_connections=8))
    rankings = await asyncio.gather(*(reranker.arank(QUERY, DOCUMENTS) for _ in range(64)))
    for ranking in rankings:
        check_ranking(ranking)
    assert server.paths().count("/v1/models") == 1
    assert server.most_idle <= 8
    assert loop_threads() == 1


async def test_the_loop_goes_on_while_the_server_thinks(serve: Any, connect: Any) -> None:
    server = serve(decide=lambda request: STALL)
    task = asyncio.ensure_future(Reranker(connect(server.url)).arank(QUERY, DOCUMENTS))
    await asyncio.to_thread(eventually, lambda: bool(server.requests))
    ticks = 0
    while ticks < 100:
        await asyncio.sleep(0)
        ticks += 1
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancelled_task_ends_its_request(serve: Any, connect: Any) -> None:
    server = serve(decide=lambda request: STALL)
    reranker = Reranker(connect(server.url, max_connections=1))
    task = asyncio.ensure_future(reranker.arank(QUERY, DOCUMENTS))
    await asyncio.to_thread(eventually, lambda: bool(server.requests))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # The one place at the gate is free again.
    server.decide = lambda request: None
    check_ranking(await asyncio.wait_for(reranker.arank(QUERY, DOCUMENTS), 60))


@pytest.mark.parametrize("how", ["sync", "async"])
async def test_a_wish_to_stop_is_granted_while_waiting(serve: Any, connect: Any, how: str) -> None:
    server = serve()
    reranker = Reranker(connect(server.url))
    check_ranking(reranker.rank(QUERY, DOCUMENTS))
    server.decide = lambda request: STALL
    cancel, asked = threading.Event(), len(server.requests)

    def call() -> Any:
        if how == "sync":
            return reranker.rank(QUERY, DOCUMENTS, cancel=cancel)
        return asyncio.run(reranker.arank(QUERY, DOCUMENTS, cancel=cancel))

    task = asyncio.ensure_future(asyncio.to_thread(call))
    await asyncio.to_thread(eventually, lambda: len(server.requests) > asked)
    cancel.set()
    with pytest.raises(RerankCancelled):
        await asyncio.wait_for(task, 60)


async def test_sync_in_a_running_loop(serve: Any, connect: Any) -> None:
    check_ranking(Reranker(connect(serve().url)).rank(QUERY, DOCUMENTS))


def test_close_ends_calls_under_way(serve: Any) -> None:
    server = serve(decide=lambda request: STALL)
    engine = RemoteEngine(server.url)
    caught: list[BaseException] = []

    def call() -> None:
        try:
            engine.facts()
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    eventually(lambda: bool(server.requests))
    engine.close()
    thread.join(60)
    assert [type(one) for one in caught] == [EngineClosedError]


async def test_aclose_ends_async_calls_under_way(serve: Any) -> None:
    server = serve(decide=lambda request: STALL)
    engine = RemoteEngine(server.url)
    task = asyncio.ensure_future(engine.afacts())
    await asyncio.to_thread(eventually, lambda: bool(server.requests))
    await engine.aclose()
    with pytest.raises(EngineClosedError):
        await task


async def test_aclose_ends_calls_with_the_callers_own_client_too(serve: Any) -> None:
    server = serve(decide=lambda request: STALL)
    async with httpx.AsyncClient() as client:
        engine = RemoteEngine(server.url, async_http_client=client)
        task = asyncio.ensure_future(engine.afacts())
        await asyncio.to_thread(eventually, lambda: bool(server.requests))
        await engine.aclose()
        with pytest.raises(EngineClosedError):
            await asyncio.wait_for(task, 60)
        with pytest.raises(EngineClosedError):
            await engine.afacts()


async def test_a_closed_engine_says_so(serve: Any) -> None:
    async with RemoteEngine(serve().url) as engine:
        check_ranking(await Reranker(engine).arank(QUERY, DOCUMENTS))
    engine.close()
    with pytest.raises(EngineClosedError):
        Reranker(engine).rank(QUERY, DOCUMENTS)
    with pytest.raises(EngineClosedError):
        await Reranker(engine).arank(QUERY, DOCUMENTS)


def test_the_constructor_starts_nothing() -> None:
    before = loop_threads()
    engine = RemoteEngine("http://127.0.0.1:9")
    assert loop_threads() == before
    engine.close()


def test_an_engine_that_nobody_closes_leaves_nothing(serve: Any) -> None:
    server = serve()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine = RemoteEngine(server.url)
        check_ranking(Reranker(engine).rank(QUERY, DOCUMENTS))
        del engine
        gc.collect()
        eventually(lambda: loop_threads() == 0)


async def test_the_callers_own_clients_are_used_and_left_open(serve: Any, connect: Any) -> None:
    server = serve()
    seen: list[str] = []

    def note(request: httpx.Request) -> None:
        seen.append("sync")

    async def anote(request: httpx.Request) -> None:
        seen.append("async")

    with httpx.Client(event_hooks={"request": [note]}) as client:
        async with httpx.AsyncClient(event_hooks={"request": [anote]}) as other:
            engine = connect(server.url, http_client=client, async_http_client=other)
            check_ranking(await Reranker(engine).arank(QUERY, DOCUMENTS))
            assert set(seen) == {"async"}
            check_ranking(await asyncio.to_thread(Reranker(engine).rank, QUERY, DOCUMENTS))
            assert set(seen) == {"async", "sync"}
            engine.close()
            assert not client.is_closed
            assert not other.is_closed


async def test_a_missing_client_of_the_other_kind_is_named(serve: Any, connect: Any) -> None:
    url = serve().url
    with httpx.Client() as client:
        engine = connect(url, http_client=client)
        check_ranking(await asyncio.to_thread(Reranker(engine).rank, QUERY, DOCUMENTS))
        with pytest.raises(InvalidInputError, match="async_http_client"):
            await RemoteEngine(url, http_client=client).afacts()
    async with httpx.AsyncClient() as other:
        with pytest.raises(InvalidInputError, match="http_client"):
            connect(url, async_http_client=other).facts()


async def test_a_client_that_was_closed_is_named(serve: Any, connect: Any) -> None:
    async with httpx.AsyncClient() as client:
        pass
    with pytest.raises(EngineClosedError, match="http client"):
        await connect(serve().url, async_http_client=client).afacts()
