"""`max_documents` and `combine`: what is scored, and in which order what comes back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from qwen3_ascend_retrievers import Reranker, langchain, llama_index
from qwen3_ascend_retrievers.core.ranking import Fusion
from qwen3_ascend_retrievers.errors import EngineError, InvalidInputError
from qwen3_ascend_retrievers.testing import FakeEngine
from support.reranker_calls import Rank, order, rankings

SCORES = {"a": 0.1, "b": 0.2, "c": 0.9, "d": 0.95}
DOCUMENTS = list(SCORES)


@rankings
async def test_only_the_first_documents_are_scored(rank: Rank) -> None:
    engine = FakeEngine(SCORES)
    ranking = await rank(Reranker(engine, max_documents=3), "q", DOCUMENTS)
    assert order(ranking) == [2, 1, 0, 3]
    assert [result.score for result in ranking.results] == [0.9, 0.2, 0.1, None]
    assert ranking.results[3].document == "d"
    assert (ranking.usage.documents, ranking.usage.passages) == (4, 3)
    assert [texts for _, texts in engine.calls] == [("a", "b", "c")]


@rankings
async def test_max_documents_with_threshold_top_n_and_more_than_there_are(rank: Rank) -> None:
    reranker = Reranker(FakeEngine(SCORES), max_documents=2, score_threshold=0.15, top_n=2)
    assert order(await rank(reranker, "q", DOCUMENTS)) == [1, 2]
    many = Reranker(FakeEngine(SCORES), max_documents=99)
    assert order(await rank(many, "q", DOCUMENTS)) == [3, 2, 1, 0]
    assert order(await rank(many, "q", [])) == []


@rankings
async def test_a_kept_order_is_that_of_all(rank: Rank) -> None:
    engine = FakeEngine(error=EngineError("down"))
    reranker = Reranker(engine, max_documents=1, on_error="keep_order")
    ranking = await rank(reranker, "q", DOCUMENTS)
    assert (order(ranking), ranking.usage.documents) == ([0, 1, 2, 3], 4)


@rankings
async def test_fusion_of_both_orders(rank: Rank) -> None:
    ranking = await rank(Reranker(FakeEngine(SCORES), combine="rrf"), "q", DOCUMENTS)
    # Both orders are each other's reverse: the ends win over the middle.
    assert order(ranking) == [0, 3, 1, 2]
    first = ranking.results[0]
    assert (first.score, first.fusion) == (0.1, Fusion(4, 1, 1 / 64 + 1 / 61))


def test_fusion_of_the_scored_ones_only() -> None:
    reranker = Reranker(FakeEngine(SCORES), combine="rrf", max_documents=3)
    assert order(reranker.rank("q", DOCUMENTS)) == [0, 2, 1, 3]


def test_pairs_are_all_scored() -> None:
    reranker = Reranker(FakeEngine(SCORES), max_documents=1, combine="rrf")
    assert reranker.score([("q", text) for text in DOCUMENTS]) == list(SCORES.values())


@pytest.mark.parametrize(
    "settings", [{"max_documents": 0}, {"max_documents": True}, {"combine": "sum"}]
)
def test_wrong_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(settings))):
        Reranker(FakeEngine(), **settings)
    for kind in (langchain.Qwen3Rerank, llama_index.Qwen3Rerank):
        with pytest.raises(InvalidInputError, match=next(iter(settings))):
            kind(engine=FakeEngine(), **settings)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kind", [langchain.Qwen3Rerank, llama_index.Qwen3Rerank])
def test_both_adapters(kind: Any, is_async: bool) -> None:
    rerank = kind(engine=FakeEngine(SCORES), max_documents=3, combine="rrf", top_n=None)
    rows = (
        asyncio.run(rerank.arerank(DOCUMENTS, "q")) if is_async else rerank.rerank(DOCUMENTS, "q")
    )
    assert rows == [
        {
            "index": 0, "relevance_score": 0.1, "rerank_rank": 3, "rerank_retriever_rank": 1,
            "rerank_fused_score": 1 / 63 + 1 / 61,
        },
        {
            "index": 2, "relevance_score": 0.9, "rerank_rank": 1, "rerank_retriever_rank": 3,
            "rerank_fused_score": 1 / 61 + 1 / 63,
        },
        {
            "index": 1, "relevance_score": 0.2, "rerank_rank": 2, "rerank_retriever_rank": 2,
            "rerank_fused_score": 1 / 62 + 1 / 62,
        },
        {"index": 3, "relevance_score": None, "rerank_status": "not_scored"},
    ]  # fmt: skip
