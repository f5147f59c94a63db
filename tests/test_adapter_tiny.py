"""Both adapters on the bundled model: the same scores as the facade, from threads and loops."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from qwen3_ascend_retrievers import LocalEngine, Reranker, langchain, llama_index

QUERY = "Which function opens a file?"
TEXTS = [f"Function number {at} {'opens a file' if at % 3 else 'sorts'}." for at in range(24)]


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    return LocalEngine("tiny", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def scores(engine: LocalEngine) -> dict[str, float]:
    found = Reranker(engine).score([(QUERY, text) for text in TEXTS])
    return dict(zip(TEXTS, found, strict=True))


def compressed(rerank: Any, is_async: bool) -> dict[str, float]:
    given = [Document(text) for text in TEXTS]
    if is_async:
        found = asyncio.run(rerank.acompress_documents(given, QUERY))
    else:
        found = rerank.compress_documents(given, QUERY)
    return {one.page_content: one.metadata["relevance_score"] for one in found}


def postprocessed(rerank: Any, is_async: bool) -> dict[str, float]:
    given = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    if is_async:
        found = asyncio.run(rerank.apostprocess_nodes(given, QueryBundle(QUERY)))
    else:
        found = rerank.postprocess_nodes(given, QueryBundle(QUERY))
    return {one.node.get_content(): one.score for one in found}


@pytest.mark.parametrize(
    ("kind", "call"),
    [(langchain.Qwen3Rerank, compressed), (llama_index.Qwen3Rerank, postprocessed)],
    ids=["langchain", "llama_index"],
)
def test_eight_threads(kind: Any, call: Any, engine: LocalEngine, scores: dict[str, float]) -> None:
    rerank = kind(engine=engine, top_n=None)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(call, [rerank] * 8, [False, True] * 4))
    for found in results:
        assert found == pytest.approx(scores, abs=1e-4)
        assert list(found.values()) == sorted(found.values(), reverse=True)


@pytest.mark.parametrize("kind", [langchain.Qwen3Rerank, llama_index.Qwen3Rerank])
def test_tiny_by_its_name(kind: Any, scores: dict[str, float]) -> None:
    rerank = kind(model="tiny", max_length=512)
    rows = rerank.rerank(TEXTS, QUERY, top_n=5)
    # The engine that was chosen decides its own precision, of 8 bits in bf16.
    found = {TEXTS[row["index"]]: row["relevance_score"] for row in rows}
    assert found == pytest.approx({text: scores[text] for text in found}, abs=0.05)
    rerank.close()
