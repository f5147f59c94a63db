"""Handshakes for many callers at once: one for each server, and none waits for another's."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.errors import (
    ConnectionFailedError,
    DeadlineExceededError,
    StatusError,
    TemplateMismatchError,
)
from support.eventually import eventually
from support.forks import ends_well_in_a_child
from support.remote_rankings import DOCUMENTS, QUERY, check_ranking
from support.rerank_faults import LOST, SLOW, status
from support.rerank_server import Fault, ReceivedRequest

STALL = SLOW[0]


def hangs(request: ReceivedRequest) -> Fault:
    return STALL


def held(until: threading.Event) -> Fault:
    """The right reply, but not before the event."""

    async def act(writer: asyncio.StreamWriter, reply: bytes) -> None:
        await asyncio.to_thread(until.wait, 60)
        writer.write(reply)
        await writer.drain()

    return Fault("held", act)


async def run_concurrently(reranker: Reranker, callers: int) -> list[Any]:
    return await asyncio.gather(
        *(reranker.arank(QUERY, DOCUMENTS) for _ in range(callers)), return_exceptions=True
    )


@pytest.mark.parametrize("hung", [1, 2])
async def test_hung_replicas_cost_one_timeout_each(serve: Any, connect: Any, hung: int) -> None:
    bad, good = [serve(decide=hangs) for _ in range(hung)], serve()
    engine = connect([server.url for server in (*bad, good)], timeout=0.5, deadline=30)
    for ranking in await run_concurrently(Reranker(engine), 32):
        check_ranking(ranking)
    assert [len(server.requests) for server in bad] == [1] * hung
    assert good.paths().count("/v1/models") == 1


async def test_one_that_hangs_later_costs_each_caller_one_timeout(serve: Any, connect: Any) -> None:
    bad, good = serve(), serve()
    engine = connect([bad.url, good.url], timeout=0.5, deadline=30, max_connections=8)
    check_ranking(await Reranker(engine).arank(QUERY, DOCUMENTS))
    bad.decide, asked = hangs, len(bad.requests)
    for ranking in await run_concurrently(Reranker(engine), 64):
        check_ranking(ranking)
    # Those who still waited for a free place moved on without asking it.
    assert 1 <= len(bad.requests) - asked <= 8


async def test_after_the_cool_down_one_caller_tries_and_the_others_go_on(
    serve: Any, connect: Any
) -> None:
    bad, good = serve(), serve()
    engine = connect([bad.url, good.url], timeout=1, deadline=30, cooldown=0.01)
    reranker = Reranker(engine)
    check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    bad.decide = hangs
    check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    await asyncio.sleep(0.02)
    asked = len(bad.requests)
    first = asyncio.ensure_future(reranker.arank(QUERY, DOCUMENTS))
    await asyncio.to_thread(eventually, lambda: len(bad.requests) > asked)
    for ranking in await run_concurrently(reranker, 8):
        check_ranking(ranking)
    assert not first.done()
    check_ranking(await first)
    assert len(bad.requests) - asked == 1


async def test_one_failure_is_everybodys(serve: Any, connect: Any) -> None:
    server = serve(decide=lambda request: LOST[0])
    errors = await run_concurrently(Reranker(connect(server.url, backoff=0.05)), 64)
    assert {type(error) for error in errors} == {ConnectionFailedError}
    # Each has its own to raise, with a traceback of its own.
    assert len({id(error) for error in errors}) == 64
    assert len(server.requests) == 4


async def test_a_wrong_server_is_everybodys_error_too(serve: Any, connect: Any) -> None:
    server = serve()
    server.setup.template = "foreign"
    errors = await run_concurrently(Reranker(connect(server.url)), 16)
    assert {type(error) for error in errors} == {TemplateMismatchError}
    assert server.paths().count("/v1/models") == 1


async def test_a_cancelled_caller_is_not_missed(serve: Any, connect: Any) -> None:
    until = threading.Event()
    server = serve(decide=lambda request: held(until) if len(server.requests) == 1 else None)
    reranker = Reranker(connect(server.url))
    first = asyncio.ensure_future(reranker.arank(QUERY, DOCUMENTS))
    await asyncio.to_thread(eventually, lambda: bool(server.requests))
    second = asyncio.ensure_future(reranker.arank(QUERY, DOCUMENTS))
    await asyncio.sleep(0.05)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    until.set()
    check_ranking(await second)
    assert server.paths().count("/v1/models") == 1


def test_when_its_loop_ends_another_takes_it_over(serve: Any, connect: Any) -> None:
    server = serve(decide=hangs)
    joined = threading.Event()

    async def start_and_end(reranker: Reranker) -> None:
        first = asyncio.ensure_future(reranker.arank(QUERY, DOCUMENTS))
        await asyncio.to_thread(joined.wait, 60)
        assert not first.done()
        # As asyncio.run does at its end, but before the client is closed.
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await own.aclose()

    own = httpx.AsyncClient()
    with httpx.Client() as sync, ThreadPoolExecutor(2) as pool:
        reranker = Reranker(connect(server.url, http_client=sync, async_http_client=own))
        ending = pool.submit(asyncio.run, start_and_end(reranker))
        eventually(lambda: bool(server.requests))
        waiting = pool.submit(reranker.rank, QUERY, DOCUMENTS)
        assert len(server.requests) == 1
        server.decide = lambda request: None
        joined.set()
        ending.result(60)
        check_ranking(waiting.result(60))


def test_a_forked_child_does_not_wait_for_its_parents_handshake(serve: Any, connect: Any) -> None:
    until = threading.Event()
    server = serve(decide=lambda request: held(until) if len(server.requests) == 1 else None)
    reranker = Reranker(connect(server.url))
    thread = threading.Thread(target=reranker.rank, args=(QUERY, DOCUMENTS))
    thread.start()
    eventually(lambda: bool(server.requests))
    try:
        assert ends_well_in_a_child(lambda: check_ranking(reranker.rank(QUERY, DOCUMENTS)))
    finally:
        until.set()
        thread.join()


async def test_who_came_later_has_time_of_its_own(serve: Any, connect: Any) -> None:
    server = serve(decide=lambda request: status(429))
    engine = connect(server.url, deadline=2, backoff=0.05)
    first = asyncio.ensure_future(engine.afacts())
    await asyncio.sleep(1)
    second = asyncio.ensure_future(engine.afacts())
    with pytest.raises(DeadlineExceededError, match="answered 429"):
        await first
    server.decide = lambda request: None
    assert (await second).model == "tiny"


@pytest.mark.parametrize("code", [400, 501])
@pytest.mark.parametrize("api", ["Rerank (Score)", "Score", "Classification"])
def test_a_model_loaded_for_another_task_is_answered_with_the_flags(
    serve: Any, connect: Any, code: int, api: str
) -> None:
    body = {"error": {"message": f"The model does not support {api} API", "code": code}}
    server = serve(
        decide=lambda request: (
            status(code, body) if request.path in ("/v1/rerank", "/classify") else None
        )
    )
    with pytest.raises(StatusError, match=r"Start vLLM with --runner pooling --hf-overrides '\{"):
        connect(server.url).facts()
