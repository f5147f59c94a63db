"""The postprocessor inside a query engine of LlamaIndex."""

from __future__ import annotations

from llama_index.core import get_response_synthesizer
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode

from qwen3_ascend_retrievers.llama_index import Qwen3Rerank
from qwen3_ascend_retrievers.testing import FakeEngine

TEXTS = ["a dog", "a cat", "two cats", "a cat and a dog", "cat food"]


class EverythingRetriever(BaseRetriever):
    """Returns all it has, in a fixed order."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        nodes = [TextNode(text=text, id_=str(at)) for at, text in enumerate(TEXTS)]
        return [NodeWithScore(node=node, score=0.5) for node in nodes]


async def test_inside_a_query_engine() -> None:
    engine = FakeEngine()
    query_engine = RetrieverQueryEngine(
        retriever=EverythingRetriever(),
        response_synthesizer=get_response_synthesizer(llm=MockLLM()),
        node_postprocessors=[Qwen3Rerank(engine=engine, top_n=3)],
    )
    for answer in (query_engine.query("cat"), await query_engine.aquery("cat")):
        sources = [source.node.get_content(MetadataMode.NONE) for source in answer.source_nodes]
        assert sources == ["a cat", "a cat and a dog", "cat food"]
        assert [source.score for source in answer.source_nodes] == [1.0] * 3
        # The mock LLM answers with its prompt, in which nothing of ours may stand.
        assert "a cat and a dog" in str(answer)
        assert "retrieval_score" not in str(answer)
    assert [how for how, _ in engine.calls] == ["sync", "async"]
