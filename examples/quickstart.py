"""`make demo`: five questions about Python, answered from its own language reference.

BM25 finds 20 passages for each question; a Qwen3 reranker puts them in order, once inside a
LangChain ContextualCompressionRetriever and once inside a LlamaIndex query engine. The model is
the tiny one that the package carries, so that no download and no accelerator is needed.
`main(engine=...)` is the same with tiny on another engine. What is printed
is in quickstart_output.py.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# The demo means the tiny model; elsewhere its use is answered with a warning.
os.environ.setdefault("QWEN3_RERANK_ALLOW_TINY", "1")

from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever as LangChainRetriever
from language_reference import Bm25, passages
from llama_index.core.base.base_retriever import BaseRetriever as LlamaIndexRetriever
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers.no_text import NoText
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from questions import QUESTIONS
from quickstart_output import Comparison, Outcome, Output, Ranked

from qwen3_ascend_retrievers import Engine, LocalEngine, Reranker
from qwen3_ascend_retrievers.langchain import Qwen3Rerank as LangChainRerank
from qwen3_ascend_retrievers.llama_index import Qwen3Rerank as LlamaIndexRerank
from qwen3_ascend_retrievers.tools.explanation import explain
from qwen3_ascend_retrievers.tools.explanation.report import html_report

CANDIDATES = 20
# Git ignores the folder.
REPORT = Path(__file__).parents[1] / "build" / "demo-report.html"


class LangChainBm25(LangChainRetriever):
    """The first stage as LangChain wants it."""

    index: Any

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002 - theirs
    ) -> list[Document]:
        return [
            Document(passage.text, metadata={"topic": passage.topic, "bm25": score})
            for passage, score in self.index.search(query, CANDIDATES)
        ]


class LlamaIndexBm25(LlamaIndexRetriever):
    """The first stage as LlamaIndex wants it."""

    def __init__(self, index: Bm25) -> None:
        super().__init__()
        self._index = index

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [
            NodeWithScore(node=_node(passage.topic, passage.text), score=score)
            for passage, score in self._index.search(query_bundle.query_str, CANDIDATES)
        ]


def _node(topic: str, text: str) -> TextNode:
    # The topic is for the output; the model judges the passage alone, as in LangChain.
    hidden = ["topic"]
    return TextNode(text=text, metadata={"topic": topic}, excluded_embed_metadata_keys=hidden)


def with_langchain(index: Bm25, compressor: LangChainRerank) -> Iterator[Outcome]:
    """The five questions through a ContextualCompressionRetriever, each when it is answered."""
    retriever = LangChainBm25(index=index)
    reranked = ContextualCompressionRetriever(base_compressor=compressor, base_retriever=retriever)
    reranked.invoke("Load the model before the clock starts.")
    for question in QUESTIONS:
        before = retriever.invoke(question.text)
        started = time.perf_counter()
        after = reranked.invoke(question.text)
        seconds = time.perf_counter() - started
        yield Outcome(question, _ranked(before, "bm25"), _ranked(after, "relevance_score"), seconds)


def _ranked(documents: list[Document], score: str) -> list[Ranked]:
    return [
        Ranked(document.metadata["topic"], document.page_content, document.metadata[score])
        for document in documents
    ]


def with_llama_index(index: Bm25, postprocessor: LlamaIndexRerank) -> Iterator[list[Ranked]]:
    """The five questions through a query engine: the sources that an LLM would be given.

    It gives no LLM's answer, because there is no LLM here.
    """
    query_engine = RetrieverQueryEngine(
        LlamaIndexBm25(index),
        response_synthesizer=NoText(llm=MockLLM()),
        node_postprocessors=[postprocessor],
    )
    for question in QUESTIONS:
        response = query_engine.query(question.text)
        yield [
            Ranked(source.node.metadata["topic"], source.node.get_content(), source.score or 0.0)
            for source in response.source_nodes
        ]


def write_report(engine: Engine, outcome: Outcome, path: Path) -> Path:
    """What `qwen3-rerank explain --html` writes: every prompt and score of one question."""
    texts = [passage.text for passage in outcome.first]
    explanation = explain(Reranker(engine), outcome.question.text, texts)
    path.parent.mkdir(exist_ok=True)
    names = [passage.topic for passage in outcome.first]
    path.write_text(html_report([explanation], names), encoding="utf-8")
    return path


def main(engine: Engine) -> int:
    """Print the demo; 1 if no answer moved up, or if the frameworks disagree."""
    output = Output()
    corpus = passages()
    index = Bm25(corpus)
    output.introduction(len(corpus), CANDIDATES)

    # Instead of an engine: model="Qwen/Qwen3-Reranker-0.6B", or base_url="http://npu-host:8000".
    compressor = LangChainRerank(engine=engine, top_n=None)
    outcomes = []
    for outcome in with_langchain(index, compressor):
        output.block(outcome)
        outcomes.append(outcome)

    postprocessor = LlamaIndexRerank(engine=engine, top_n=None)
    comparison = Comparison.of(outcomes, with_llama_index(index, postprocessor))
    output.comparison(comparison)
    output.summary(outcomes)
    output.next_steps(write_report(engine, outcomes[0], REPORT))
    return 0 if comparison.same and any(outcome.moved_up() for outcome in outcomes) else 1


if __name__ == "__main__":
    with LocalEngine("tiny") as local:
        sys.exit(main(local))
