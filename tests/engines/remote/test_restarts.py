"""A server that ends and comes back as another one, between two calls or within one."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httpx
import pytest

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.core.ranking import sigmoid
from qwen3_ascend_retrievers.errors import ReplyError, RerankError, TemplateMismatchError
from support.remote_rankings import DOCUMENTS, QUERY, check_ranking
from support.rerank_answers import RefusalError, Setup, hash_logit, right_logit
from support.rerank_faults import LOST, SLOW, status
from support.rerank_server import Fault, ReceivedRequest, RerankServer


def of_another_model(ids: Any) -> float:
    return -hash_logit(ids)


SWAPS: dict[str, Setup] = {
    "no template": Setup(),
    "exact template": Setup(template="exact"),
    "official template": Setup(template="official"),
    "deaf template": Setup(template="exact", heeds_instruction=False),
    "foreign template": Setup(template="foreign"),
    "no overrides": Setup(overrides=False),
    "another model": Setup(scorer=of_another_model),
    "old vLLM": Setup(knows_activation=False, has_classify=False),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "texts": {},
    "ids": {"tokenizer": "tiny"},
    "local tokenizer, texts": {"tokenizer": "tiny", "protocol": "rerank"},
}
# How the old server is left: it ends between two calls, or in the middle of one.
LOSSES = [LOST[0], LOST[2], *(status(code) for code in (502, 503, 504)), SLOW[0]]


def check(server: RerankServer, ranking: Any) -> None:
    """Assert the scores of the model that is served by now, for exact prompts."""
    sign = -1 if server.setup.scorer is of_another_model else 1
    right = [sigmoid(sign * right_logit(QUERY, document)) for document in DOCUMENTS]
    for result in ranking.results:
        assert result.score == pytest.approx(right[result.index])


async def check_anew(server: RerankServer, reranker: Reranker) -> None:
    """Assert right scores, or an error where there cannot be any."""
    hopeless = server.setup.template == "foreign" and reranker.engine.config()["tokenizer"] is None
    try:
        ranking = await reranker.arank(QUERY, DOCUMENTS)
    except TemplateMismatchError:
        insists = reranker.engine.config()["protocol"] == "rerank"
        assert insists or hopeless or not server.setup.overrides
    else:
        check(server, ranking)


@pytest.mark.parametrize("how", SETTINGS)
@pytest.mark.parametrize("before", ["no template", "exact template"])
@pytest.mark.parametrize("after", SWAPS)
async def test_between_two_calls(
    serve: Any, connect: Any, before: str, after: str, how: str
) -> None:
    old = RerankServer(SWAPS[before])
    with old:
        reranker = Reranker(connect(old.url, **SETTINGS[how]))
        check(old, await reranker.arank(QUERY, DOCUMENTS))
    with RerankServer(SWAPS[after], port=old.port) as new:
        await check_anew(new, reranker)
        reranker.close()


@pytest.mark.parametrize("loss", LOSSES, ids=[fault.name for fault in LOSSES])
@pytest.mark.parametrize("after", ["exact template", "official template", "another model"])
async def test_within_a_call(serve: Any, connect: Any, after: str, loss: Fault) -> None:
    server = serve()
    reranker = Reranker(connect(server.url, timeout=0.3, deadline=60, batch_size=3))
    check(server, await reranker.arank(QUERY, DOCUMENTS))

    def ends(request: ReceivedRequest) -> Fault:
        server.setup = server.answers.setup = SWAPS[after]
        server.decide = lambda request: None
        return loss

    server.decide = ends
    check(server, await reranker.arank(QUERY, DOCUMENTS))


async def test_behind_a_gateway_whose_connections_last(serve: Any, connect: Any) -> None:
    server = serve()
    reranker = Reranker(connect(server.url))
    check(server, await reranker.arank(QUERY, DOCUMENTS))
    routed = server.answers.routed

    def once(*request: Any) -> Any:
        server.answers.routed = routed
        server.setup.template = "official"
        raise RefusalError(502, "Bad Gateway")

    server.answers.routed = once
    check(server, await reranker.arank(QUERY, DOCUMENTS))


async def test_a_replica_that_is_restarted_while_it_rests(serve: Any, connect: Any) -> None:
    first, second = serve(), serve()
    reranker = Reranker(connect([first.url, second.url], cooldown=0.05))
    check(first, await reranker.arank(QUERY, DOCUMENTS))
    first.decide = lambda request: status(502)
    check(second, await reranker.arank(QUERY, DOCUMENTS))
    first.decide = lambda request: None
    first.setup.scorer = of_another_model
    await asyncio.sleep(0.05)
    with pytest.raises(ReplyError, match="score the canaries differently"):
        await reranker.arank(QUERY, DOCUMENTS)


async def test_the_same_server_again_costs_one_request(serve: Any, connect: Any) -> None:
    with RerankServer() as old:
        reranker = Reranker(connect(old.url))
        check_ranking(await reranker.arank(QUERY, DOCUMENTS))
        asked = len(old.requests)
        # Over a connection that the canaries were answered over, nothing is asked again.
        check_ranking(await reranker.arank(QUERY, DOCUMENTS))
        assert len(old.requests) - asked == 1
    with RerankServer(port=old.port) as new:
        check_ranking(await reranker.arank(QUERY, DOCUMENTS))
        assert new.paths() == ["/v1/rerank"] * 2
        check_ranking(await reranker.arank(QUERY, DOCUMENTS))
        assert len(new.requests) == 3
        reranker.close()


async def test_64_calls_after_a_restart_share_the_proof(serve: Any, connect: Any) -> None:
    with RerankServer() as old:
        reranker = Reranker(connect(old.url))
        check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    with RerankServer(Setup(template="official"), port=old.port) as new:
        for ranking in await asyncio.gather(*(reranker.arank(QUERY, DOCUMENTS) for _ in range(64))):
            check_ranking(ranking)
        assert new.paths().count("/v1/models") == 1
        reranker.close()


async def test_another_model_is_told(
    serve: Any, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with RerankServer() as old:
        reranker = Reranker(connect(old.url))
        check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    assert not caplog.records
    with RerankServer(Setup(scorer=of_another_model), port=old.port) as new:
        for _ in range(2):
            check(new, await reranker.arank(QUERY, DOCUMENTS))
        reranker.close()
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "scores the canaries otherwise than before" in warnings[0]


@pytest.mark.parametrize("after", ["exact template", "official template"])
async def test_with_a_client_of_the_callers(serve: Any, connect: Any, after: str) -> None:
    old = RerankServer()
    async with httpx.AsyncClient() as own:
        with old:
            reranker = Reranker(connect(old.url, async_http_client=own))
            check_ranking(await reranker.arank(QUERY, DOCUMENTS))
        with RerankServer(SWAPS[after], port=old.port):
            check_ranking(await reranker.arank(QUERY, DOCUMENTS))
            await own.aclose()


async def test_without_any_template_the_scores_are_compared_too(serve: Any, connect: Any) -> None:
    first, second = serve(), serve(Setup(scorer=of_another_model))
    engine = connect([first.url, second.url], template="none", max_retries=0)
    await Reranker(engine).arank(QUERY, DOCUMENTS)
    first.decide = lambda request: LOST[0]
    with pytest.raises(ReplyError, match="replicas of one model"):
        await Reranker(engine).arank(QUERY, DOCUMENTS)


async def test_a_server_that_changes_with_every_connection_is_an_error(
    serve: Any, connect: Any
) -> None:
    server = serve()
    reranker = Reranker(connect(server.url))
    check_ranking(await reranker.arank(QUERY, DOCUMENTS))

    def flips(request: ReceivedRequest) -> Fault:
        server.setup.scorer = hash_logit if len(server.requests) % 2 else of_another_model
        return status(200, {"results": []}) if request.path == "/v1/models" else LOST[0]

    server.decide = flips
    with pytest.raises(RerankError):
        await reranker.arank(QUERY, DOCUMENTS)
