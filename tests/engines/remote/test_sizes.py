"""Replies that are far too big, or that a few bytes unpack to: refused before memory runs out."""

from __future__ import annotations

import asyncio
import zlib
from functools import lru_cache
from typing import Any

import httpx
import pytest

from qwen3_ascend_retrievers import RemoteEngine, Reranker
from qwen3_ascend_retrievers.errors import ReplyError
from support.remote_rankings import DOCUMENTS, QUERY, check_ranking
from support.rerank_faults import status
from support.rerank_server import Fault, ReceivedRequest, http

FINE, TOO_BIG = 8 * 2**20, 40 * 2**20


@lru_cache(maxsize=4)
def blank(size: int) -> bytes:
    return b" " * size


def padded(size: int, compressed: bool) -> Fault:
    """The right reply, after so many blanks that JSON may begin with."""

    async def act(writer: asyncio.StreamWriter, reply: bytes) -> None:
        body = blank(size) + reply.partition(b"\r\n\r\n")[2]
        headers = {"Connection": "close"}
        if compressed:
            packer = zlib.compressobj(1, wbits=31)
            body = packer.compress(body) + packer.flush()
            headers["Content-Encoding"] = "gzip"
        writer.write(http(200, body, headers))
        await writer.drain()

    return Fault(f"{size} blanks", act)


async def rank(engine: RemoteEngine, how: str) -> Any:
    reranker = Reranker(engine)
    if how == "async":
        return await reranker.arank(QUERY, DOCUMENTS)
    return await asyncio.to_thread(reranker.rank, QUERY, DOCUMENTS)


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("how", ["sync", "async"])
async def test_a_reply_may_be_big_but_not_endless(
    serve: Any, connect: Any, how: str, compressed: bool
) -> None:
    server = serve()
    with httpx.Client() as client:
        engine = connect(server.url, **({"http_client": client} if how == "sync" else {}))
        check_ranking(await rank(engine, how))
        server.decide = lambda request: padded(FINE, compressed)
        check_ranking(await rank(engine, how))
        server.decide = lambda request: padded(TOO_BIG, compressed)
        with pytest.raises(ReplyError, match=r"has more than 16,\d{3},\d{3} bytes") as caught:
            await rank(engine, how)
    assert caught.value.status == 200
    assert caught.value.request_id == server.requests[-1].headers["x-request-id"]


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip"])
async def test_only_what_was_asked_for_is_unpacked(serve: Any, connect: Any, encoding: str) -> None:
    server = serve()
    reranker = Reranker(connect(server.url))
    check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    assert server.requests[-1].headers["accept-encoding"] == "gzip, deflate"
    server.decide = lambda request: status(200, "x", Content_Encoding=encoding)
    with pytest.raises(ReplyError, match="was not asked for"):
        await reranker.arank(QUERY, DOCUMENTS)


BROKEN = (padded(TOO_BIG, True), status(200, "xxxx", Content_Encoding="gzip"))


@pytest.mark.parametrize("fault", BROKEN, ids=["too big", "no gzip"])
async def test_another_replica_takes_over(serve: Any, connect: Any, fault: Fault) -> None:
    first, second = serve(), serve()
    reranker = Reranker(connect([first.url, second.url], cooldown=3600))
    check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    first.decide = lambda request: fault
    check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    assert second.requests


async def test_a_broken_encoding_is_no_reason_to_ask_again(serve: Any, connect: Any) -> None:
    server = serve()
    reranker = Reranker(connect(server.url))
    check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    requests: list[ReceivedRequest] = []

    def decide(one: ReceivedRequest) -> Fault:
        requests.append(one)
        return BROKEN[1]

    server.decide = decide
    with pytest.raises(ReplyError, match="badly encoded") as caught:
        await reranker.arank(QUERY, DOCUMENTS)
    assert [one.headers["x-request-id"] for one in requests] == [caught.value.request_id]
