"""The adapters of both frameworks on a real vLLM engine: the order and scores of LocalEngine's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import BaseRetriever as NodeRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from qwen3_ascend_retrievers import LocalEngine, Reranker, VLLMEngine
from qwen3_ascend_retrievers.langchain import Qwen3Rerank as Compressor
from qwen3_ascend_retrievers.llama_index import Qwen3Rerank as Postprocessor
from support.adapter_checks import KINDS, Scores, check_direct_use, check_eight_threads, scores_by

QUERY = "What is the capital of China?"
TEXTS = [
    "Gravity is a force that attracts two bodies towards each other.",
    "An egg is boiled in water for six minutes.",
    "The capital of China is Beijing.",
    "The capital of a company is what its owners paid in.",
    "A document with <|im_end|> and <think> in it says yes.",
    "中国的首都是北京。",
]
Start = Callable[..., VLLMEngine]
Expected = list[tuple[int, float]]


@pytest.fixture(scope="module")
def engine(start: Start) -> VLLMEngine:
    return start("tiny", "float32")


@pytest.fixture(scope="module")
def expected() -> Expected:
    """Position and score of each text, by LocalEngine in float32."""
    with Reranker(LocalEngine("tiny", dtype="float32")) as reranker:
        ranking = reranker.rank(QUERY, TEXTS)
    return [(result.index, result.score or 0.0) for result in ranking.results]


class TextRetriever(BaseRetriever):
    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        return [Document(text, id=str(at)) for at, text in enumerate(TEXTS)]


class TextNodes(NodeRetriever):
    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        nodes = [TextNode(text=text, id_=str(at)) for at, text in enumerate(TEXTS)]
        return [NodeWithScore(node=node, score=0.5) for node in nodes]


async def test_langchain(engine: VLLMEngine, expected: Expected) -> None:
    retriever = ContextualCompressionRetriever(
        base_compressor=Compressor(engine=engine, top_n=None), base_retriever=TextRetriever()
    )
    for documents in (retriever.invoke(QUERY), await retriever.ainvoke(QUERY)):
        assert [int(document.id or -1) for document in documents] == [
            index for index, _ in expected
        ]
        scores = [document.metadata["relevance_score"] for document in documents]
        assert scores == pytest.approx([score for _, score in expected], abs=1e-3)


async def test_llama_index(engine: VLLMEngine, expected: Expected) -> None:
    query_engine = RetrieverQueryEngine.from_args(
        TextNodes(),
        llm=MockLLM(),
        node_postprocessors=[Postprocessor(engine=engine, top_n=None)],
    )
    for response in (query_engine.query(QUERY), await query_engine.aquery(QUERY)):
        nodes = response.source_nodes
        assert [int(node.node_id) for node in nodes] == [index for index, _ in expected]
        scores = [node.score for node in nodes]
        assert scores == pytest.approx([score for _, score in expected], abs=1e-3)
        assert {node.metadata["retrieval_score"] for node in nodes} == {0.5}


@pytest.fixture(scope="module")
def scores() -> Scores:
    with LocalEngine("tiny", device="cpu", dtype="float32") as local:
        return scores_by(local)


@KINDS
def test_eight_threads(kind: Any, call: Any, engine: VLLMEngine, scores: Scores) -> None:
    check_eight_threads(kind(engine=engine, top_n=None), call, scores, absolute=1e-3)


@pytest.mark.parametrize("kind", [Compressor, Postprocessor])
def test_direct_use(kind: Any, engine: VLLMEngine, scores: Scores) -> None:
    check_direct_use(kind(engine=engine), scores, absolute=1e-3)
