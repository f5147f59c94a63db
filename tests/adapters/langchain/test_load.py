"""Two thousand documents from eight threads at once, sync and async, through one compressor."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

from langchain_core.documents import Document

from qwen3_ascend_retrievers.langchain import Qwen3Rerank
from qwen3_ascend_retrievers.testing import FakeEngine

COUNT = 2_000
# 7,919 and 2,000 have no common factor: every score occurs once.
SCORES = {f"text {at}": at * 7919 % COUNT / COUNT for at in range(COUNT)}


def test_eight_threads() -> None:
    documents = [
        Document(text, id=str(at), metadata={"page": {"number": at}})
        for at, text in enumerate(SCORES)
    ]
    before = deepcopy(documents)
    expected = sorted(range(COUNT), key=lambda at: -SCORES[f"text {at}"])
    rerank = Qwen3Rerank(engine=FakeEngine(SCORES), top_n=None)

    def call(number: int) -> list[Document]:
        if number % 2:
            return asyncio.run(rerank.acompress_documents(documents, "query"))
        return rerank.compress_documents(documents, "query")

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(call, range(8)))
    assert documents == before
    for reranked in results:
        assert [int(document.id or "") for document in reranked] == expected
        assert all(
            document.metadata
            == {"page": {"number": at}, "relevance_score": SCORES[document.page_content]}
            for document, at in zip(reranked, expected, strict=True)
        )
