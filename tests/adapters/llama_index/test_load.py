"""Two thousand nodes from eight threads at once, sync and async, through one postprocessor."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from qwen3_ascend_retrievers.llama_index import Qwen3Rerank
from qwen3_ascend_retrievers.testing import FakeEngine

COUNT = 2_000
# 7,919 and 2,000 have no common factor: every score occurs once.
SCORES = {f"text {at}": at * 7919 % COUNT / COUNT for at in range(COUNT)}


def test_eight_threads() -> None:
    nodes = [
        NodeWithScore(
            node=TextNode(
                text=text,
                id_=str(at),
                metadata={"page": {"number": at}},
                excluded_embed_metadata_keys=["page"],
            ),
            score=at / COUNT,
        )
        for at, text in enumerate(SCORES)
    ]
    before = deepcopy(nodes)
    expected = sorted(range(COUNT), key=lambda at: -SCORES[f"text {at}"])
    rerank = Qwen3Rerank(engine=FakeEngine(SCORES), top_n=None)

    def call(number: int) -> list[NodeWithScore]:
        query = QueryBundle("query")
        if number % 2:
            return asyncio.run(rerank.apostprocess_nodes(nodes, query))
        return rerank.postprocess_nodes(nodes, query)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(call, range(8)))
    assert nodes == before
    for reranked in results:
        assert [int(result.node.node_id) for result in reranked] == expected
        assert all(
            result.score == SCORES[f"text {at}"]
            and result.node.metadata == {"page": {"number": at}, "retrieval_score": at / COUNT}
            for result, at in zip(reranked, expected, strict=True)
        )
