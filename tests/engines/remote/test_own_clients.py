"""The caller's own http clients: threads that end, and an async client in more than one loop."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import warnings
from contextlib import nullcontext
from typing import Any

import httpx
import pytest

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.engines.remote.http.own_clients import (
    CLIENT_THREAD_NAME,
    AbortedError,
    Transfer,
)
from qwen3_ascend_retrievers.errors import (
    DeadlineExceededError,
    EngineClosedError,
    InvalidInputError,
    RerankCancelled,
)
from support.eventually import eventually
from support.remote_rankings import DOCUMENTS, QUERY, check_ranking
from support.rerank_faults import SLOW
from support.rerank_server import Fault

STALL = SLOW[0]
HEAD = b"HTTP/1.1 200 OK\r\n"


def endless(beginning: bytes) -> Fault:
    """A reply that goes on byte by byte for ever, well within any read timeout."""

    async def act(writer: asyncio.StreamWriter, reply: bytes) -> None:
        writer.write(beginning)
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.02)

    return Fault("endless", act)


DRIPS = {
    "header": endless(HEAD + b"X-Drip: "),
    "body": endless(HEAD + b"Content-Length: 1000000\r\n\r\n"),
    "chunk": endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n"),
}


def readers() -> int:
    return sum(thread.name == CLIENT_THREAD_NAME for thread in threading.enumerate())


@pytest.mark.parametrize("drip", DRIPS)
def test_no_thread_reads_on_after_the_timeout(serve: Any, connect: Any, drip: str) -> None:
    server = serve()
    with httpx.Client() as client:
        engine = connect(server.url, http_client=client, timeout=0.5, deadline=60, max_retries=1)
        reranker = Reranker(engine)
        check_ranking(reranker.rank(QUERY, DOCUMENTS))
        server.decide = lambda request: DRIPS[drip]
        # The first of two tries goes out on a connection that is used again.
        with pytest.raises(DeadlineExceededError):
            reranker.rank(QUERY, DOCUMENTS)
        eventually(lambda: readers() == 0)
        server.decide = lambda request: None
        check_ranking(reranker.rank(QUERY, DOCUMENTS))


@pytest.mark.parametrize(
    ("event", "raises"),
    [
        ("connection.connect_tcp.started", True),
        ("http11.send_request_body.complete", True),
        ("http11.receive_response_body.started", True),
        ("http11.receive_response_body.failed", False),
        ("http11.response_closed.started", False),
        ("connection.close.started", False),
    ],
)
def test_an_aborted_transfer_ends_at_its_next_step(event: str, raises: bool) -> None:
    transfer = Transfer()
    transfer.trace(event, {})
    transfer.abort()
    with pytest.raises(AbortedError) if raises else nullcontext():
        transfer.trace(event, {})


def test_a_reply_that_is_left_half_read_raises_nowhere(serve: Any) -> None:
    """As when its thread was aborted: the collector closes what reads the rest."""
    server, transfer = serve(), Transfer()
    server.decide = lambda request: DRIPS["body"]
    unraisable: list[Any] = []
    hook, sys.unraisablehook = sys.unraisablehook, unraisable.append
    try:
        with httpx.Client() as client:
            with client.stream(
                "GET", server.url + "/v1/models", extensions={"trace": transfer.trace}
            ) as reply:
                pieces = reply.iter_raw()
                next(pieces)
                transfer.abort()
                del pieces
            del reply
            gc.collect()
    finally:
        sys.unraisablehook = hook
    assert not unraisable


@pytest.mark.parametrize("fault", [STALL, DRIPS["header"]], ids=["stall", "drip"])
def test_close_waits_until_no_thread_reads_on(serve: Any, connect: Any, fault: Fault) -> None:
    server = serve(decide=lambda request: fault)
    caught: list[Exception] = []
    with httpx.Client() as client:
        engine = connect(server.url, http_client=client, timeout=3000, deadline=3000)

        def call() -> None:
            try:
                Reranker(engine).rank(QUERY, DOCUMENTS)
            except EngineClosedError as error:
                caught.append(error)

        caller = threading.Thread(target=call)
        caller.start()
        eventually(lambda: bool(server.requests))
        engine.close()
        assert readers() == 0
        caller.join(60)
    assert len(caught) == 1


def test_a_cancelled_call_ends_its_thread(serve: Any, connect: Any) -> None:
    server = serve()
    cancel = threading.Event()
    caught: list[Exception] = []
    with httpx.Client() as client:
        reranker = Reranker(connect(server.url, http_client=client, timeout=3000, deadline=3000))
        check_ranking(reranker.rank(QUERY, DOCUMENTS))
        server.decide, asked = (lambda request: STALL), len(server.requests)

        def call() -> None:
            try:
                reranker.rank(QUERY, DOCUMENTS, cancel=cancel)
            except RerankCancelled as error:
                caught.append(error)

        caller = threading.Thread(target=call)
        caller.start()
        eventually(lambda: len(server.requests) > asked)
        cancel.set()
        caller.join(60)
        eventually(lambda: readers() == 0)
    assert len(caught) == 1


def test_the_callers_own_request_on_the_same_connection_goes_on(serve: Any, connect: Any) -> None:
    server = serve()
    with httpx.Client() as client:
        reranker = Reranker(connect(server.url, http_client=client))
        for _ in range(3):
            check_ranking(reranker.rank(QUERY, DOCUMENTS))
            assert client.get(f"{server.url}/v1/models").status_code == 200


def test_an_async_client_serves_one_run_after_another(serve: Any, connect: Any) -> None:
    server = serve()
    client = httpx.AsyncClient()
    reranker = Reranker(connect(server.url, async_http_client=client, batch_size=1))

    async def calls(count: int) -> None:
        # Side by side, so that the pool holds many connections of a loop that is closed later.
        rankings = (reranker.arank(QUERY, DOCUMENTS) for _ in range(count))
        for ranking in await asyncio.gather(*rankings):
            check_ranking(ranking)

    async def last() -> None:
        await calls(4)
        await client.aclose()

    with warnings.catch_warnings():
        # asyncio says of each connection of a closed loop that nobody closed it.
        warnings.simplefilter("ignore", ResourceWarning)
        asyncio.run(calls(4))
        asyncio.run(calls(1))
        asyncio.run(last())
        gc.collect()


async def test_an_async_client_of_another_living_loop_is_named(serve: Any, connect: Any) -> None:
    url = serve().url
    async with httpx.AsyncClient() as client:
        check_ranking(
            await Reranker(connect(url, async_http_client=client)).arank(QUERY, DOCUMENTS)
        )

        def elsewhere() -> None:
            # Another engine, which has met the client in this loop only.
            asyncio.run(connect(url, async_http_client=client).afacts())

        with pytest.raises(InvalidInputError, match=r"another event loop.*leave http_client"):
            await asyncio.to_thread(elsewhere)
        check_ranking(
            await Reranker(connect(url, async_http_client=client)).arank(QUERY, DOCUMENTS)
        )
