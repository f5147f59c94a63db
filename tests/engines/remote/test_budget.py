"""Long documents: cut before they are sent, where a local tokenizer would; else isolated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from qwen3_ascend_retrievers import DEFAULT_INSTRUCTION, Reranker
from qwen3_ascend_retrievers.core.prompt import document_part, neutralise, query_part
from qwen3_ascend_retrievers.core.ranking import sigmoid
from qwen3_ascend_retrievers.errors import TooLongError
from support.remote_rankings import QUERY, check_ranking
from support.rerank_answers import (
    RefusalError,
    RerankAnswers,
    Setup,
    right_logit,
    tokens_of,
    vllm_error,
)

MAX = 256
LONG = (
    "The capital of China is Beijing. " * 60,
    "北京是中华人民共和国的首都。" * 60,
    "🇨🇳 🏙️ 👩‍👩‍👧‍👦 İstanbul ΣΑΣ cafe\u0301 " * 40,
    "word " * 3000,
    "short",
)
SETTINGS: dict[str, dict[str, Any]] = {
    "local tokenizer, ids": {"tokenizer": "tiny"},
    "local tokenizer, texts": {"tokenizer": "tiny", "protocol": "rerank"},
    "the server's tokenizer, texts": {},
    "the server's tokenizer, ids": {"protocol": "classify"},
}


@pytest.mark.parametrize("template", ["none", "exact"])
@pytest.mark.parametrize("name", SETTINGS)
async def test_cut_where_the_tokens_say(serve: Any, connect: Any, name: str, template: str) -> None:
    server = serve(Setup(max_model_len=MAX, template=template))
    ranking = await Reranker(connect(server.url, **SETTINGS[name])).arank(QUERY, LONG)
    by_index = {result.index: result for result in ranking.results}
    for index, document in enumerate(LONG):
        result = by_index[index]
        assert result.span is not None
        scored = neutralise(document[slice(*result.span)])
        assert result.score is not None
        assert result.logit == pytest.approx(right_logit(QUERY, scored))
        assert result.truncated is (document != "short")
        assert result.cut == ("exact" if result.truncated else "no")
        if result.truncated:
            first = query_part(DEFAULT_INSTRUCTION, QUERY)
            used = len(tokens_of(first)) + len(tokens_of(document_part(scored)))
            assert MAX - 4 < used <= MAX


async def test_every_way_cuts_at_the_same_place(serve: Any, connect: Any) -> None:
    spans, documents = [], [*LONG, "<|im_end|> <think> " * 100]
    for settings in SETTINGS.values():
        server = serve(Setup(max_model_len=MAX))
        ranking = await Reranker(connect(server.url, **settings)).arank(QUERY, documents)
        spans.append({result.index: result.span for result in ranking.results})
    assert spans == [spans[0]] * len(SETTINGS)


async def test_nothing_is_counted_that_surely_fits(serve: Any, connect: Any) -> None:
    server = serve()
    reranker = Reranker(connect(server.url))
    reranker.engine.facts()
    counted = server.paths().count("/tokenize")
    check_ranking(await reranker.arank(QUERY, ["a", "b"]), documents=["a", "b"])
    assert server.paths().count("/tokenize") == counted


async def test_without_a_tokenizer_the_cut_is_an_estimate(serve: Any, connect: Any) -> None:
    server = serve(Setup(max_model_len=MAX, has_tokenize=False))
    ranking = await Reranker(connect(server.url)).arank(QUERY, LONG)
    assert {result.cut for result in ranking.results if result.truncated} == {"estimated"}
    assert len(ranking.results) == len(LONG)
    for result in ranking.results:
        assert result.span is not None
        scored = neutralise(LONG[result.index][slice(*result.span)])
        assert result.logit == pytest.approx(right_logit(QUERY, scored))


async def test_windows(serve: Any, connect: Any) -> None:
    server = serve(Setup(max_model_len=MAX))
    reranker = Reranker(connect(server.url), overflow="window", window_overlap=16)
    results = (await reranker.arank(QUERY, LONG)).results
    assert all(result.windows > 1 for result in results if result.document != "short")


async def test_overflow_error(serve: Any, connect: Any) -> None:
    server = serve(Setup(max_model_len=MAX))
    with pytest.raises(TooLongError, match=r"documents\[0\]"):
        await Reranker(connect(server.url), overflow="error").arank(QUERY, LONG)


def forgetful(setup: Setup) -> Setup:
    """A server that tells nobody how much it takes."""
    setup.lists_models = False
    return setup


class Curt(RerankAnswers):
    """Its refusals name no limit."""

    def _value(self, ids: Sequence[int], body: Any) -> float:
        try:
            return super()._value(ids, body)
        except RefusalError:
            raise vllm_error(400, "The prompt is too long.") from None


@pytest.mark.parametrize("settings", [{}, {"tokenizer": "tiny"}])
async def test_the_one_document_that_is_too_long_is_cut_harder(
    serve: Any, connect: Any, settings: dict[str, Any]
) -> None:
    server = serve(forgetful(Setup(max_model_len=300)))
    documents = [f"short {at}" for at in range(9)] + ["number " * 250]
    ranking = await Reranker(connect(server.url, **settings)).arank(QUERY, documents)
    assert len(ranking.results) == len(documents)
    (cut,) = [result for result in ranking.results if result.index == 9]
    assert cut.truncated
    assert cut.cut == "estimated"
    assert cut.span == (0, len(documents[9]) // 2)
    assert cut.logit == pytest.approx(right_logit(QUERY, documents[9][: len(documents[9]) // 2]))
    uncut = [result for result in ranking.results if result.index != 9]
    assert not any(result.truncated for result in uncut)
    for result in uncut:
        assert result.logit == pytest.approx(right_logit(QUERY, result.document))


async def test_a_cut_that_was_not_allowed_is_an_error(serve: Any, connect: Any) -> None:
    server = serve(forgetful(Setup(max_model_len=300, has_tokenize=False)))
    reranker = Reranker(connect(server.url), overflow="error")
    documents = ["a", "number " * 250]
    with pytest.raises(TooLongError, match=r"documents\[1\]") as caught:
        await reranker.arank(QUERY, documents)
    assert caught.value.index == 1
    check_ranking(await reranker.arank(QUERY, ["a", "b"]), documents=["a", "b"])


async def test_what_is_far_too_long_is_cut_to_the_limit_that_is_named(
    serve: Any, connect: Any
) -> None:
    engine = connect(serve(forgetful(Setup(max_model_len=300))).url)
    document = "number " * 5000
    # The limit holds for later calls, which count.
    for expected in ("estimated", "exact"):
        (cut,) = (await Reranker(engine).arank(QUERY, [document])).results
        assert cut.cut == expected
        assert cut.span is not None
        assert 200 < cut.span[1] < len(document) // 2
        assert cut.logit == pytest.approx(right_logit(QUERY, document[: cut.span[1]]))
    assert engine.facts().max_length == 300


async def test_what_stays_too_long_is_named(serve: Any, connect: Any) -> None:
    server = serve(forgetful(Setup(max_model_len=300)), kind=Curt)
    documents = ["a", "b", "number " * 5000, "c"]
    with pytest.raises(TooLongError, match=r"documents\[2\].*max_length") as caught:
        await Reranker(connect(server.url)).arank(QUERY, documents)
    assert caught.value.index == 2


async def test_big_lists_are_split_by_count_and_by_tokens(serve: Any, connect: Any) -> None:
    server = serve()
    many = [f"document {at}" for at in range(101)]
    check_ranking(
        await Reranker(connect(server.url, batch_size=10)).arank(QUERY, many), documents=many
    )
    sizes = [len(one.body["documents"]) for one in server.requests if one.path == "/v1/rerank"]
    assert sorted(sizes[-11:]) == [1] + [10] * 10


async def test_many_queries_in_one_call(serve: Any, connect: Any) -> None:
    pairs = [(f"query {at % 3}", f"document {at}") for at in range(12)]
    scores = await Reranker(connect(serve().url)).ascore(pairs)
    assert scores == pytest.approx([sigmoid(right_logit(*pair)) for pair in pairs])
