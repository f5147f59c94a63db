"""Right scores or a typed error, however the server was started: over real HTTP."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.core.prompt import DEFAULT_INSTRUCTION, document_part, query_part
from qwen3_ascend_retrievers.core.ranking import sigmoid
from qwen3_ascend_retrievers.engines.remote.protocol.canary import SHORTEST
from qwen3_ascend_retrievers.errors import (
    AuthenticationError,
    InvalidInputError,
    StatusError,
    TemplateMismatchError,
)
from support.qwen_tokenizer import qwen_tokenizer
from support.remote_rankings import DOCUMENTS, QUERY, check_ranking
from support.rerank_answers import Setup, right_logit

CUSTOM = "Find what answers {it} best"
TASKS: list[str | None] = [None, CUSTOM]


async def rank(reranker: Reranker, how: str, documents: Any = DOCUMENTS) -> Any:
    if how == "sync":
        # In a running loop on purpose: sync use there must work too.
        return reranker.rank(QUERY, documents)
    return await reranker.arank(QUERY, documents)


RIGHT: dict[str, tuple[Setup, dict[str, Any]]] = {
    "no template": (Setup(), {}),
    "server template": (Setup(template="exact"), {}),
    "official template": (Setup(template="official"), {}),
    "no template, local tokenizer": (Setup(), {"tokenizer": "tiny"}),
    "official template, local tokenizer": (Setup(template="official"), {"tokenizer": "tiny"}),
    "texts in spite of a tokenizer": (Setup(), {"tokenizer": "tiny", "protocol": "rerank"}),
    "foreign template, by ids": (Setup(template="foreign"), {"protocol": "classify"}),
    "old server": (Setup(has_classify=False, knows_activation=False, has_tokenize=False), {}),
    "dropped instruction, ids": (Setup(template="exact", heeds_instruction=False), {}),
    "sglang, told": (Setup(shape="sglang", counts=False), {"template": "client"}),
    "tei, told": (Setup(shape="tei", counts=False, lists_models=False), {"template": "client"}),
    "jina": (Setup(shape="jina"), {}),
    "key": (Setup(api_key="sk-1234567890"), {"api_key": "sk-1234567890"}),
    "name": (Setup(model="Qwen/Qwen3-Reranker-8B"), {"model": "Qwen/Qwen3-Reranker-8B"}),
    "small batches": (Setup(), {"batch_size": 2}),
    "no list of models": (Setup(lists_models=False), {}),
}


@pytest.mark.parametrize("has_ids", [True, False])
@pytest.mark.parametrize("template", ["none", "exact"])
def test_a_server_with_short_prompts(
    serve: Any, connect: Any, template: str, has_ids: bool
) -> None:
    """From the shortest length on the canaries fit; below it the error says what is wrong."""
    setup = Setup(template=template, has_classify=has_ids, has_tokenize=has_ids)
    facts = connect(serve(replace(setup, max_model_len=SHORTEST)).url).facts()
    assert (facts.max_length, facts.template_verified) == (SHORTEST, has_ids)
    for length in (16, 100):
        engine = connect(serve(replace(setup, max_model_len=length)).url)
        with pytest.raises(StatusError, match=f"--max-model-len {SHORTEST}") as caught:
            engine.facts()
        assert caught.value.status == 400
        assert f"{length} tokens" in str(caught.value.__cause__)


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("task", TASKS, ids=["default", "custom"])
@pytest.mark.parametrize("name", RIGHT)
async def test_right_scores(
    serve: Any, connect: Any, name: str, task: str | None, how: str
) -> None:
    setup, settings = RIGHT[name]
    engine = connect(serve(setup).url, **settings)
    reranker = Reranker(engine, instruction=task)
    check_ranking(await rank(reranker, how), **({} if task is None else {"instruction": task}))
    # What the handshake found holds for the second call.
    check_ranking(
        await rank(reranker, how, DOCUMENTS[::-1]),
        documents=DOCUMENTS[::-1],
        **({} if task is None else {"instruction": task}),
    )


WRONG: dict[str, tuple[Setup, dict[str, Any], type[Exception], str]] = {
    "embeddings": (Setup(overrides=False), {}, TemplateMismatchError, "--hf-overrides"),
    "foreign template": (Setup(template="foreign"), {}, TemplateMismatchError, "--chat-template"),
    "official template": (
        Setup(template="official"), {"protocol": "rerank"}, TemplateMismatchError,
        "three newlines",
    ),
    "twice": (
        Setup(template="exact"), {"template": "client"}, TemplateMismatchError, "--chat-template",
    ),
    "neither": (Setup(), {"template": "server"}, TemplateMismatchError, "--chat-template"),
    "nothing counted": (
        Setup(shape="sglang", counts=False), {}, TemplateMismatchError, "template='client'",
    ),
    "key missing": (Setup(api_key="sk-1234567890"), {}, AuthenticationError, "api_key"),
    "key wrong": (
        Setup(api_key="sk-1234567890"), {"api_key": "sk-other-key"}, AuthenticationError, "api_key",
    ),
    "name wrong": (Setup(), {"model": "other"}, StatusError, "/v1/models"),
}  # fmt: skip


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("name", WRONG)
async def test_a_typed_error(serve: Any, connect: Any, name: str, how: str) -> None:
    setup, settings, error, advice = WRONG[name]
    engine = connect(serve(setup).url, **settings)
    with pytest.raises(error, match=advice):
        await rank(Reranker(engine), how)


async def test_a_dropped_instruction_without_ids_is_an_error(serve: Any, connect: Any) -> None:
    server = serve(Setup(template="exact", heeds_instruction=False, has_classify=False))
    engine = connect(server.url)
    check_ranking(Reranker(engine).rank(QUERY, DOCUMENTS))
    with pytest.raises(TemplateMismatchError, match=r"0\.23.*--chat-template"):
        Reranker(engine, instruction=CUSTOM).rank(QUERY, DOCUMENTS)


async def test_no_template_at_all_takes_no_instruction(serve: Any, connect: Any) -> None:
    engine = connect(serve().url, template="none")
    assert len(Reranker(engine).rank(QUERY, DOCUMENTS).results) == len(DOCUMENTS)
    with pytest.raises(TemplateMismatchError):
        Reranker(engine, instruction=CUSTOM).rank(QUERY, DOCUMENTS)


async def test_logits_are_told_where_they_are_known(serve: Any, connect: Any) -> None:
    new = Reranker(connect(serve().url)).rank(QUERY, DOCUMENTS)
    assert all(result.logit is not None for result in new.results)
    old = Reranker(connect(serve(Setup(knows_activation=False)).url)).rank(QUERY, DOCUMENTS)
    assert all(result.logit is None for result in old.results)


async def test_verified_or_warned_once(
    serve: Any, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    proven = Reranker(connect(serve(Setup(template="exact")).url)).rank(QUERY, DOCUMENTS)
    assert proven.template_verified is True
    ids = Reranker(connect(serve(Setup(template="official")).url)).rank(QUERY, DOCUMENTS)
    assert ids.template_verified is None
    reranker = Reranker(connect(serve(Setup(template="exact", has_classify=False)).url))
    with caplog.at_level(logging.WARNING, "qwen3_ascend_retrievers"):
        for _ in range(3):
            assert reranker.rank(QUERY, DOCUMENTS).template_verified is False
    assert (
        len([record for record in caplog.records if "could not be checked" in record.message]) == 1
    )


async def test_a_reply_of_small_logits_is_asked_about_again(serve: Any, connect: Any) -> None:
    def small(ids: Any) -> float:
        return (hash(tuple(ids)) % 1000) / 1000

    server = serve(Setup(scorer=small))
    ranking = Reranker(connect(server.url)).rank(QUERY, DOCUMENTS)
    assert all(0 <= (result.logit or 0) <= 1 for result in ranking.results)
    assert all(0.5 <= (result.score or 0) < 0.74 for result in ranking.results)


async def test_a_replica_that_ignores_use_activation_is_noticed(serve: Any, connect: Any) -> None:
    server = serve()
    reranker = Reranker(connect(server.url))
    check_ranking(reranker.rank(QUERY, DOCUMENTS))
    server.setup.knows_activation = False
    check_ranking(reranker.rank(QUERY, DOCUMENTS[:-1]), documents=DOCUMENTS[:-1])


async def test_a_server_that_was_restarted_otherwise_is_noticed(serve: Any, connect: Any) -> None:
    server = serve()
    reranker = Reranker(connect(server.url, tokenizer="tiny", protocol="rerank"))
    check_ranking(reranker.rank(QUERY, DOCUMENTS))
    server.setup.template = "exact"
    check_ranking(reranker.rank(QUERY, DOCUMENTS))
    server.setup.template = "foreign"
    with pytest.raises(TemplateMismatchError):
        reranker.rank(QUERY, DOCUMENTS)


async def test_a_wrong_tokenizer_is_noticed(serve: Any, connect: Any, tmp_path: Path) -> None:
    qwen_tokenizer().save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TemplateMismatchError, match="makes other tokens"):
        Reranker(connect(serve().url, tokenizer=str(tmp_path))).rank(QUERY, DOCUMENTS)
    blind = serve(Setup(has_tokenize=False))
    with pytest.raises(TemplateMismatchError, match=r"tokenizer=\.\.\., if set, is its own"):
        Reranker(connect(blind.url, tokenizer=str(tmp_path))).rank(QUERY, DOCUMENTS)


async def test_the_real_tokenizers_counts(serve: Any, connect: Any, tmp_path: Path) -> None:
    qwen_tokenizer().save(str(tmp_path / "tokenizer.json"))
    # Without /tokenize nothing but the counts can tell who templates.
    for template, owner in (("none", "client"), ("exact", "server")):
        server = serve(Setup(folder=tmp_path, template=template, has_tokenize=False))
        Reranker(connect(server.url)).rank(QUERY, DOCUMENTS)
        last = server.requests[-1].body
        assert last["query"].startswith("<|im_start|>") is (owner == "client")


async def test_top_n_is_never_sent(serve: Any, connect: Any) -> None:
    server = serve()
    ranking = Reranker(connect(server.url), top_n=2).rank(QUERY, DOCUMENTS)
    assert len(ranking.results) == 2
    assert not any("top_n" in (one.body or {}) for one in server.requests)


async def test_several_models_need_a_name(serve: Any, connect: Any) -> None:
    server = serve()
    cards = [{"id": name, "root": name} for name in ("one", "other")]
    server.answers.models = lambda body: {"data": cards}
    with pytest.raises(InvalidInputError, match="one, other"):
        Reranker(connect(server.url)).rank(QUERY, DOCUMENTS)


@pytest.mark.parametrize("tail", ["", "/", "/v1", "/v1/", "/v1/rerank", "/rerank/"])
async def test_base_url_in_every_form(serve: Any, connect: Any, tail: str) -> None:
    check_ranking(Reranker(connect(serve().url + tail)).rank(QUERY, DOCUMENTS))


async def test_templated_texts_go_out_as_they_are_where_nothing_is_templated(
    serve: Any, connect: Any
) -> None:
    query, document = query_part(DEFAULT_INSTRUCTION, QUERY), document_part(DOCUMENTS[0])
    server = serve(Setup())
    with pytest.raises(InvalidInputError, match="Pass the bare query"):
        Reranker(connect(server.url)).rank(query, [document])
    ranking = Reranker(connect(server.url, template="none")).rank(query, [document])
    assert ranking.results[0].score == pytest.approx(sigmoid(right_logit(QUERY, DOCUMENTS[0])))
