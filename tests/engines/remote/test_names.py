"""What a server calls its model is learnt, and is no identity: its scores are."""

from __future__ import annotations

from itertools import count, cycle
from typing import Any

import pytest

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.errors import ReplyError, StatusError, TemplateMismatchError
from support.remote_rankings import DOCUMENTS, QUERY, check_ranking
from support.rerank_answers import RefusalError, Setup, hash_logit
from support.rerank_server import RerankServer

MODELS = ("reranker", None)
ECHOES = ("Qwen/Qwen3-Reranker-8B", "sha256:9f86d081884c7d65", "reranker-2026-11-28", "RERANKER")


@pytest.mark.parametrize("settings", [{}, {"tokenizer": "tiny"}, {"protocol": "classify"}])
@pytest.mark.parametrize("name", ["alias-a", "alias-b", None])
async def test_served_model_names(
    serve: Any, connect: Any, name: str | None, settings: dict[str, Any]
) -> None:
    server = serve(Setup(model="alias-a", aliases=("alias-b",)))
    reranker = Reranker(connect(server.url, model=name, **settings))
    for _ in range(2):
        check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    assert server.requests[-1].body["model"] == (name or "alias-a")
    assert (await reranker.engine.afacts()).model == (name or "alias-a")
    assert server.paths().count("/v1/models") == 1


@pytest.mark.parametrize("lists", [True, False])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("echo", ECHOES)
async def test_a_gateway_that_maps_names(
    serve: Any, connect: Any, echo: str, name: str | None, lists: bool
) -> None:
    server = serve(Setup(model="reranker", echo=lambda: echo, lists_models=lists))
    reranker = Reranker(connect(server.url, model=name))
    check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    # What it calls the model in replies is never asked for.
    assert {asked.body.get("model") for asked in server.requests if asked.body} == {
        name or ("reranker" if lists else None)
    }


@pytest.mark.parametrize("name", MODELS)
async def test_without_a_template_too(serve: Any, connect: Any, name: str | None) -> None:
    server = serve(Setup(model="reranker", echo=lambda: ECHOES[0]))
    reranker = Reranker(connect(server.url, model=name, template="none"))
    for _ in range(2):
        assert len((await reranker.arank(QUERY, DOCUMENTS)).results) == len(DOCUMENTS)


@pytest.mark.parametrize("settings", [{}, {"tokenizer": "tiny"}, {"template": "none"}])
async def test_pods_with_names_of_their_own(
    serve: Any, connect: Any, settings: dict[str, Any]
) -> None:
    names = cycle(f"pod-{at}" for at in range(5))
    server = serve(Setup(echo=lambda: next(names)))
    reranker = Reranker(connect(server.url, batch_size=2, **settings))
    for _ in range(4):
        ranking = await reranker.arank(QUERY, DOCUMENTS)
        if not settings.get("template"):
            check_ranking(ranking)
    assert server.paths().count("/v1/models") == 1


async def test_a_new_name_with_the_same_scores_is_the_same_model(serve: Any, connect: Any) -> None:
    server = serve()
    reranker = Reranker(connect(server.url))
    check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    server.setup.echo = lambda: "other"
    asked = len(server.requests)
    for _ in range(2):
        check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    # Two rankings and one canary.
    assert len(server.requests) - asked == 3


@pytest.mark.parametrize("settings", [{}, {"template": "none"}, {"model": "tiny"}])
async def test_a_new_name_with_other_scores_is_refused(
    serve: Any, connect: Any, settings: dict[str, Any]
) -> None:
    server = serve()
    reranker = Reranker(connect(server.url, **settings))
    await reranker.arank(QUERY, DOCUMENTS)
    server.setup.echo = lambda: "other"
    server.setup.scorer = lambda ids: -hash_logit(ids)
    for _ in range(2):
        with pytest.raises(ReplyError, match="'other', not 'tiny'"):
            await reranker.arank(QUERY, DOCUMENTS)


async def test_two_models_behind_one_balancer_are_noticed(serve: Any, connect: Any) -> None:
    server = serve(Setup(echo=lambda: "tiny"))
    reranker = Reranker(connect(server.url))
    check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    turns = count()

    def scorer(ids: Any) -> float:
        return hash_logit(ids) * (1 if next(turns) % 2 else -1)

    # From now on every other document is another model's.
    server.setup.scorer = scorer
    names = cycle(("tiny", "other"))
    server.setup.echo = lambda: next(names)
    next(names)
    with pytest.raises((ReplyError, TemplateMismatchError)):
        await reranker.arank(QUERY, DOCUMENTS)


async def test_a_name_that_is_never_met_again_is_not_believed(serve: Any, connect: Any) -> None:
    server = serve(Setup(echo=lambda: "tiny"))
    reranker = Reranker(connect(server.url))
    check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    routed = server.answers.rerank

    def by_another(body: Any) -> Any:
        name = "rare" if len(body["documents"]) == len(DOCUMENTS) else "tiny"
        return routed(body) | {"model": name}

    server.answers.rerank = by_another
    with pytest.raises(ReplyError, match="'rare'"):
        await reranker.arank(QUERY, DOCUMENTS)


async def test_replicas_may_have_different_names(serve: Any, connect: Any) -> None:
    first, second = serve(Setup(model="pod-1")), serve(Setup(model="pod-2", template="exact"))
    reranker = Reranker(connect([first.url, second.url], max_retries=0))
    check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    first.setup.max_bytes = 1
    first.decide = None
    first.answers.routed = refuses
    check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    assert "/v1/rerank" in second.paths()


def refuses(*request: Any) -> Any:
    raise RefusalError(500, "no")


@pytest.mark.parametrize("settings", [{}, {"tokenizer": "tiny"}, {"template": "none"}])
async def test_a_name_that_the_server_does_not_know(
    serve: Any, connect: Any, settings: dict[str, Any]
) -> None:
    server = serve(Setup(model="alias-a", aliases=("alias-b",)))
    with pytest.raises(StatusError, match=r"/v1/models has: 'alias-a, alias-b'") as caught:
        await connect(server.url, model="other", **settings).afacts()
    assert caught.value.status == 404
    assert "path" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "The model `other` does not exist.", "type": "NotFoundError"}},
        {"object": "error", "message": "The model `other` does not exist.", "code": 404},
        {"error": {"message": "Invalid model name passed in model=other", "code": "400"}},
        {"error": {"message": "model 'other' not found", "type": "not_found_error"}},
        {"detail": "Unknown model other"},
    ],
)
@pytest.mark.parametrize("code", [400, 404])
async def test_in_every_servers_words(serve: Any, connect: Any, body: Any, code: int) -> None:
    server = serve()
    listed = server.answers.routed

    def routed(path: str, *cool_down: Any) -> Any:
        if path == "/v1/models":
            return listed(path, *cool_down)
        raise RefusalError(code, body)

    server.answers.routed = routed
    with pytest.raises(StatusError, match=r"/v1/models has: 'tiny'"):
        await connect(server.url, model="other").afacts()


@pytest.mark.parametrize("name", ["tiny", None])
async def test_a_wrong_path_is_told_apart(serve: Any, connect: Any, name: str | None) -> None:
    with pytest.raises(StatusError, match="does not lead to a server with this path") as caught:
        await connect(serve().url + "/prefix", model=name).afacts()
    assert "model=" not in str(caught.value)


async def test_a_server_that_was_renamed(serve: Any, connect: Any) -> None:
    server = serve()
    unnamed, named = Reranker(connect(server.url)), Reranker(connect(server.url, model="tiny"))
    for reranker in (unnamed, named):
        check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    server.setup.model = "renamed"
    # The old name was the handshake's only, not the caller's.
    check_ranking(await unnamed.arank(QUERY, DOCUMENTS))
    with pytest.raises(StatusError, match=r"/v1/models has: 'renamed'"):
        await named.arank(QUERY, DOCUMENTS)


async def test_a_server_started_anew_under_another_name(serve: Any, connect: Any) -> None:
    with RerankServer() as old:
        reranker = Reranker(connect(old.url))
        check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    with RerankServer(Setup(model="renamed", template="exact"), port=old.port):
        check_ranking(await reranker.arank(QUERY, DOCUMENTS))
        reranker.close()
