"""Several replicas: the next on failure, a cooldown for the failed one, never two in a ranking."""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import Any

import pytest

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.errors import (
    ConnectionFailedError,
    ReplyError,
    StatusError,
    TemplateMismatchError,
)
from support.eventually import eventually
from support.remote_rankings import DOCUMENTS, QUERY, check_ranking
from support.rerank_answers import Setup, hash_logit
from support.rerank_faults import FINAL, LOST, SLOW, WRONG, status
from support.rerank_server import Fault, ReceivedRequest

MANY = [f"document {at}" for at in range(40)]
FAILING = (status(503), LOST[0], LOST[3], WRONG[0], WRONG[6])


@pytest.mark.parametrize("fault", FAILING, ids=[one.name for one in FAILING])
async def test_the_next_one_takes_over_at_once(serve: Any, connect: Any, fault: Fault) -> None:
    bad, good = serve(decide=lambda request: fault), serve()
    reranker = Reranker(connect([bad.url, good.url], backoff=60, cooldown=3600))
    check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    # The failed one is in its cooldown.
    asked = len(bad.requests)
    check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    assert len(bad.requests) == asked


async def test_a_stalled_one_is_left_after_the_timeout(serve: Any, connect: Any) -> None:
    good = serve()
    bad = serve(decide=lambda request: SLOW[0])
    check_ranking(await Reranker(connect([bad.url, good.url], timeout=2)).arank(QUERY, DOCUMENTS))


async def test_one_that_died_in_the_middle_is_replaced_as_a_whole(serve: Any, connect: Any) -> None:
    first, second = serve(), serve(Setup(template="exact"))
    reranker = Reranker(connect([first.url, second.url], batch_size=4, cooldown=3600))
    check_ranking(await reranker.arank(QUERY, MANY), documents=MANY)
    seen: list[ReceivedRequest] = []

    def dies(request: ReceivedRequest) -> Fault | None:
        seen.append(request)
        return LOST[0] if len(seen) > 3 else None

    first.decide = dies
    check_ranking(await reranker.arank(QUERY, MANY), documents=MANY)
    sent = [one.body["documents"] for one in second.requests if one.path == "/v1/rerank"]
    assert sorted(chain.from_iterable(sent[-10:])) == sorted(MANY)


async def test_after_the_cool_down_the_first_is_asked_again(serve: Any, connect: Any) -> None:
    first, second = serve(), serve()
    reranker = Reranker(connect([first.url, second.url], cooldown=0.05))
    first.decide = lambda request: status(500)
    check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    first.decide = lambda request: None
    await asyncio.sleep(0.05)
    asked = len(second.requests)
    check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    assert len(second.requests) == asked


async def test_when_all_fail_the_last_error_is_told(serve: Any, connect: Any) -> None:
    servers = [serve(decide=lambda request: status(502)) for _ in range(3)]
    engine = connect([one.url for one in servers], max_retries=2)
    with pytest.raises(StatusError, match="502"):
        await Reranker(engine).arank(QUERY, DOCUMENTS)
    assert [len(one.requests) for one in servers] == [1, 1, 3]


async def test_without_a_cool_down_it_still_ends(connect: Any) -> None:
    engine = connect(["http://127.0.0.1:9", "http://127.0.0.1:10"], cooldown=0, max_retries=1)
    with pytest.raises(ConnectionFailedError):
        await Reranker(engine).arank(QUERY, DOCUMENTS)


async def test_a_final_no_is_not_passed_on(serve: Any, connect: Any) -> None:
    first, second = serve(decide=lambda request: FINAL[1]), serve()
    with pytest.raises(Exception, match="401"):
        await Reranker(connect([first.url, second.url])).arank(QUERY, DOCUMENTS)
    assert not second.requests


@pytest.mark.parametrize("fault", [status(500), LOST[0]], ids=["failing", "gone"])
async def test_replicas_of_two_models_are_refused(serve: Any, connect: Any, fault: Fault) -> None:
    first = serve(Setup(model="one"))
    second = serve(Setup(model="other", scorer=lambda ids: -hash_logit(ids)))
    reranker = Reranker(connect([first.url, second.url], cooldown=0.01))
    check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    first.decide = lambda request: fault
    with pytest.raises(ReplyError, match=r"'other'.*'one'"):
        await reranker.arank(QUERY, DOCUMENTS)


async def test_a_wrong_replica_is_not_used_in_silence(serve: Any, connect: Any) -> None:
    first, second = serve(decide=lambda request: status(500)), serve(Setup(overrides=False))
    with pytest.raises(TemplateMismatchError):
        await Reranker(connect([first.url, second.url])).arank(QUERY, DOCUMENTS)


async def test_a_server_that_comes_back_is_found(serve: Any, connect: Any) -> None:
    server = serve()
    reranker = Reranker(connect(server.url, max_retries=0))
    check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    server.decide = lambda request: LOST[0]
    with pytest.raises(ConnectionFailedError):
        await reranker.arank(QUERY, DOCUMENTS)
    server.decide = lambda request: None
    server.setup.template = "exact"
    check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    eventually(lambda: server.paths().count("/v1/models") == 2)
