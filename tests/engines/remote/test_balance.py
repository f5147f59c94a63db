"""Which server of several gets a ranking, and what one that hangs costs."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import pytest

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.engines.remote.config import Address
from qwen3_ascend_retrievers.engines.remote.http.failures import RequestFailure
from qwen3_ascend_retrievers.engines.remote.replicas import Load, Replicas
from qwen3_ascend_retrievers.errors import DeadlineExceededError, InvalidInputError
from support.remote_rankings import check_ranking, documents_of
from support.rerank_answers import Setup
from support.rerank_faults import SLOW
from support.rerank_server import RerankServer

CALLS, COUNT = 40, 20
# So that queries arrive as they are.
EXACT = Setup(template="exact")


def rankings_of(server: RerankServer) -> list[Any]:
    """The bodies of its requests for rankings, canaries left out."""
    bodies = [request.body for request in server.requests if request.path == "/v1/rerank"]
    return [body for body in bodies if len(body["documents"]) == COUNT]


async def rank_all(reranker: Reranker, queries: list[str]) -> None:
    rankings = await asyncio.gather(
        *(reranker.arank(query, documents_of(at, COUNT)) for at, query in enumerate(queries))
    )
    for at, (query, ranking) in enumerate(zip(queries, rankings, strict=True)):
        check_ranking(ranking, query, documents_of(at, COUNT))


async def test_failover_leaves_the_second_alone(serve: Any, connect: Any) -> None:
    first, second = serve(), serve()
    await rank_all(Reranker(connect([first.url, second.url])), [f"q{at}" for at in range(CALLS)])
    assert len(rankings_of(first)) == CALLS
    assert not second.requests


async def test_the_least_busy_shares_the_work(serve: Any, connect: Any) -> None:
    servers = serve(), serve()
    reranker = Reranker(connect([server.url for server in servers], balance="least_busy"))
    await rank_all(reranker, [f"q{at}" for at in range(CALLS)])
    shares = [len(rankings_of(server)) for server in servers]
    assert sum(shares) == CALLS
    assert min(shares) >= CALLS // 4


async def test_a_query_comes_back_to_its_server(serve: Any, connect: Any) -> None:
    servers = serve(), serve()
    reranker = Reranker(connect([server.url for server in servers], balance="least_busy"))
    # So many that no choice of ports gives one server all of them.
    for at in range(96):
        query = f"query {at % 24}"
        check_ranking(await reranker.arank(query, documents_of(at, COUNT)), query, documents_of(at))
    homes = [Counter(body["query"] for body in rankings_of(server)) for server in servers]
    assert all(homes)
    assert not homes[0].keys() & homes[1].keys()
    assert set((homes[0] | homes[1]).values()) == {4}


async def test_one_that_hangs_loses_no_call(serve: Any, connect: Any) -> None:
    good, hung = serve(EXACT), serve(EXACT)
    urls = [hung.url, good.url]
    reranker = Reranker(connect(urls, balance="least_busy", timeout=1, max_connections=CALLS))
    await rank_all(reranker, [f"warm {at}" for at in range(CALLS)])
    assert rankings_of(hung)
    asked = len(hung.requests)
    hung.decide = lambda request: SLOW[0]
    await rank_all(reranker, [f"q{at}" for at in range(CALLS)])
    # Each call meets one timeout at most: it asks the server that hangs once, and not again.
    late = Counter(body["query"] for body in rankings_of(hung) if body["query"].startswith("q"))
    assert late
    assert set(late.values()) == {1}
    assert len(hung.requests) - asked <= CALLS + 4


def test_load_is_taken_and_given_back() -> None:
    addresses = [Address("http://a", None), Address("http://b", None)]
    replicas = Replicas(addresses, 10, "least_busy", 30)
    load = Load(20, "query")
    with replicas.use(frozenset(), load) as (first, has_alternative):
        assert has_alternative
        with replicas.use(frozenset(), load) as (second, _):
            assert second is not first
        # Equally busy again: the query's own server.
        assert replicas.next(frozenset(), load)[0] is second
    assert first.passages == second.passages == 0
    assert replicas.next(frozenset(), load)[0] is first


def test_a_server_that_replied_meanwhile_does_not_hang() -> None:
    good, hung = Address("http://good", None), Address("http://hung", None)
    replicas = Replicas([hung, good], 10, "least_busy", 30)
    late = RequestFailure(DeadlineExceededError("No complete reply"))
    replica = replicas.next({hung.root})[0]
    replicas.cool_down(replica, late)
    # As far as is known, there is only the other.
    assert replicas.next({good.root})[1] is False
    replica.replied_at = time.monotonic()
    other, has_alternative = replicas.next({good.root})
    assert other.root == hung.root
    assert has_alternative
    replicas.cool_down(other, late)
    assert replicas.next({good.root, hung.root}) == (replica, False)
    replica.replied_at = 0
    replica.cooldown_until = other.cooldown_until + 1
    assert replicas.next({good.root, hung.root}) == (other, False)


def test_another_balance_is_an_error(connect: Any) -> None:
    with pytest.raises(InvalidInputError, match="balance must be one of failover, least_busy"):
        connect("http://npu:8000", balance="random")
