"""What a call costs, counted: requests, bytes, tokenizer calls, copies. No clock."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.core.prompt import neutralise
from qwen3_ascend_retrievers.engines.base import Call
from qwen3_ascend_retrievers.engines.remote.failover import Failover
from support.eventually import eventually
from support.remote_rankings import DOCUMENTS, QUERY, check_ranking
from support.rerank_answers import Setup
from support.rerank_server import Fault, ReceivedRequest, RerankServer

WORDS = "the capital of a country is where its government meets"
BATCH = 32


def documents_of_words(count: int) -> list[str]:
    return [f"{WORDS} {at}" for at in range(count)]


def rerank_requests(server: RerankServer, before: int) -> list[ReceivedRequest]:
    return [request for request in server.requests[before:] if request.path == "/v1/rerank"]


def test_requests_and_bytes_are_no_more_than_needed(serve: Any, connect: Any) -> None:
    server = serve(Setup(template="exact"))
    reranker = Reranker(connect(server.url), top_n=10)
    check_ranking(reranker.rank(QUERY, DOCUMENTS), QUERY, DOCUMENTS)
    before, documents = len(server.requests), documents_of_words(1000)
    reranker.rank(QUERY, documents)
    requests = server.requests[before:]
    assert len(requests) == len(rerank_requests(server, before)) == math.ceil(1000 / BATCH)
    sent = sum(int(request.headers["content-length"]) for request in requests)
    # The texts in quotes with a comma and a space, and names, model and query once a request.
    assert sent <= sum(len(text) + 4 for text in documents) + 200 * len(requests)


@pytest.mark.parametrize(
    ("text", "counted"),
    [("short " * 1000, 0), ("北京是首都" * 300, 0), ("long " * 9000, 1)],
    ids=["short", "chinese", "long"],
)
def test_only_what_may_not_fit_is_counted(
    serve: Any, connect: Any, text: str, counted: int
) -> None:
    server = serve(Setup(template="exact"))
    reranker = Reranker(connect(server.url))
    reranker.rank(QUERY, ["warm"])
    before = len(server.requests)
    reranker.rank(QUERY, [*documents_of_words(10), text])
    prompts = [
        request.body["prompt"] for request in server.requests[before:] if "prompt" in request.body
    ]
    assert any(text[:100] in prompt for prompt in prompts) == bool(counted)
    assert not any(f"{WORDS} 3" in prompt for prompt in prompts)


class RecordedError(Exception):
    """Ends a call once its plan is known."""


def test_clean_texts_are_never_copied(
    serve: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reranker = Reranker(connect(serve(Setup(template="exact")).url))
    documents = ["  spaces stay ", "a < b", "北京 🇨🇳", *documents_of_words(20)]
    ranking = reranker.rank(QUERY, documents)
    assert all(result.document is documents[result.index] for result in ranking.results)
    plans: list[Any] = []

    def record(self: Failover, plan: Any, call: Call) -> Any:
        plans.append(plan)
        raise RecordedError

    monkeypatch.setattr(Failover, "score", record)
    with pytest.raises(RecordedError):
        reranker.rank(QUERY, documents)
    texts = [passage.text for passage in plans[0].passages]
    assert all(text is document for text, document in zip(texts, documents, strict=True))


@pytest.mark.parametrize(
    "text", ["plain", "a < b and <b>", "北京 🇨🇳", "\ud7ff\ue000", ""], ids=ascii
)
def test_neutralise_returns_a_clean_text_itself(text: str) -> None:
    assert neutralise(text) is text


async def test_one_call_leaves_room_for_others(serve: Any, connect: Any) -> None:
    held: list[bytes] = []
    release = asyncio.Event()
    server = serve(Setup(template="exact"))
    reranker = Reranker(connect(server.url))
    await reranker.arank(QUERY, ["warm"])
    loop = asyncio.get_running_loop()

    async def hold(writer: Any, reply: bytes) -> None:
        held.append(reply)
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(release.wait(), loop))
        writer.write(reply)

    server.decide = lambda request: Fault("held", hold)
    task = asyncio.ensure_future(reranker.arank(QUERY, documents_of_words(1000)))
    await asyncio.to_thread(eventually, lambda: len(held) == 8)
    server.decide = lambda request: None
    small = ["one", "two"]
    ranking = await reranker.arank(QUERY, small)
    check_ranking(ranking, QUERY, small)
    assert len(held) == 8
    release.set()
    assert len((await task).results) == 1000


async def test_a_small_call_waits_for_one_request_of_a_large_one(serve: Any, connect: Any) -> None:
    server = serve(Setup(template="exact"))
    reranker = Reranker(connect(server.url, max_connections=1))
    await reranker.arank(QUERY, ["warm"])
    before = len(server.requests)
    large = asyncio.ensure_future(reranker.arank(QUERY, documents_of_words(3200)))
    await asyncio.to_thread(eventually, lambda: len(rerank_requests(server, before)) > 3)
    begun = len(server.requests)
    await reranker.arank("another query", ["one", "two"])
    bodies = [request.body for request in server.requests[begun:]]
    assert next(at for at, body in enumerate(bodies) if body["query"] == "another query") <= 4
    assert len((await large).results) == 3200
