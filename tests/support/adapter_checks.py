"""What both adapters must do with the bundled model, on any engine that runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from qwen3_ascend_retrievers import Reranker, langchain, llama_index
from qwen3_ascend_retrievers.engines.base import Engine

QUERY = "Which function opens a file?"
TEXTS = [f"Function number {at} {'opens a file' if at % 3 else 'sorts'}." for at in range(24)]

Scores = dict[str, float]


def scores_by(engine: Engine) -> Scores:
    """The score of each text, by the facade."""
    scores = Reranker(engine).score([(QUERY, text) for text in TEXTS])
    return dict(zip(TEXTS, scores, strict=True))


def compressed(rerank: langchain.Qwen3Rerank, is_async: bool) -> Scores:
    documents = [Document(text) for text in TEXTS]
    if is_async:
        reranked = asyncio.run(rerank.acompress_documents(documents, QUERY))
    else:
        reranked = rerank.compress_documents(documents, QUERY)
    return {document.page_content: document.metadata["relevance_score"] for document in reranked}


def postprocessed(rerank: llama_index.Qwen3Rerank, is_async: bool) -> Scores:
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    if is_async:
        reranked = asyncio.run(rerank.apostprocess_nodes(nodes, QueryBundle(QUERY)))
    else:
        reranked = rerank.postprocess_nodes(nodes, QueryBundle(QUERY))
    return {node.node.get_content(): node.score or 0.0 for node in reranked}


KINDS = pytest.mark.parametrize(
    ("kind", "call"),
    [(langchain.Qwen3Rerank, compressed), (llama_index.Qwen3Rerank, postprocessed)],
    ids=["langchain", "llama_index"],
)


def check_eight_threads(
    rerank: Any, call: Callable[[Any, bool], Scores], scores: Scores, *, absolute: float
) -> None:
    """Assert that eight threads, half of them with a loop, get `scores`, best first."""
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(call, [rerank] * 8, [False, True] * 4))
    for result in results:
        assert result == pytest.approx(scores, abs=absolute)
        assert list(result.values()) == sorted(result.values(), reverse=True)


def check_direct_use(rerank: Any, scores: Scores, *, absolute: float) -> None:
    """Assert that the five best rows of `rerank()` are the five best of `scores`."""
    rows = rerank.rerank(TEXTS, QUERY, top_n=5)
    best = [row["relevance_score"] for row in rows]
    assert best == pytest.approx(sorted(scores.values(), reverse=True)[:5], abs=absolute)
    assert best == pytest.approx([scores[TEXTS[row["index"]]] for row in rows], abs=absolute)
