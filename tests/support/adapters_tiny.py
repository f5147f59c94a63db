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
    found = Reranker(engine).score([(QUERY, text) for text in TEXTS])
    return dict(zip(TEXTS, found, strict=True))


def compressed(rerank: langchain.Qwen3Rerank, is_async: bool) -> Scores:
    given = [Document(text) for text in TEXTS]
    if is_async:
        found = asyncio.run(rerank.acompress_documents(given, QUERY))
    else:
        found = rerank.compress_documents(given, QUERY)
    return {one.page_content: one.metadata["relevance_score"] for one in found}


def postprocessed(rerank: llama_index.Qwen3Rerank, is_async: bool) -> Scores:
    given = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    if is_async:
        found = asyncio.run(rerank.apostprocess_nodes(given, QueryBundle(QUERY)))
    else:
        found = rerank.postprocess_nodes(given, QueryBundle(QUERY))
    return {one.node.get_content(): one.score or 0.0 for one in found}


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
    for found in results:
        assert found == pytest.approx(scores, abs=absolute)
        assert list(found.values()) == sorted(found.values(), reverse=True)


def check_direct_use(rerank: Any, scores: Scores, *, absolute: float) -> None:
    """Assert that the five best rows of `rerank()` are the five best of `scores`."""
    rows = rerank.rerank(TEXTS, QUERY, top_n=5)
    found = [row["relevance_score"] for row in rows]
    assert found == pytest.approx(sorted(scores.values(), reverse=True)[:5], abs=absolute)
    assert found == pytest.approx([scores[TEXTS[row["index"]]] for row in rows], abs=absolute)
