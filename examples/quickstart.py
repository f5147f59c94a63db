"""`make demo`: five questions about Python, answered from its own language reference.

BM25 finds 20 passages for each question; a Qwen3 reranker puts them in order, once inside a
LangChain ContextualCompressionRetriever and once inside a LlamaIndex query engine. The model is
the tiny one that the package carries, so that no download and no accelerator is needed.
`main(engine=...)` is the same with tiny on another engine.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
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
from questions import QUESTIONS, Question
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qwen3_ascend_retrievers import Engine
from qwen3_ascend_retrievers.langchain import Qwen3Rerank as LangChainRerank
from qwen3_ascend_retrievers.llama_index import Qwen3Rerank as LlamaIndexRerank

CANDIDATES = 20
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Line:
    """One passage in one of the two orders, with the score that put it there."""

    topic: str
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """Both orders for a question, and the seconds of the first stage and of both stages."""

    question: Question
    first: list[Line]
    reranked: list[Line]
    seconds: tuple[float, float]

    def places(self) -> tuple[int | None, int | None]:
        """Where the first passage with the answer stands, from 1, in either order."""
        return self._place(self.first), self._place(self.reranked)

    def _place(self, lines: list[Line]) -> int | None:
        found = (at for at, one in enumerate(lines, 1) if self.question.answered_by(one.text))
        return next(found, None)


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
            Document(one.text, metadata={"topic": one.topic, "bm25": score})
            for one, score in self.index.search(query, CANDIDATES)
        ]


class LlamaIndexBm25(LlamaIndexRetriever):
    """The first stage as LlamaIndex wants it."""

    def __init__(self, index: Bm25) -> None:
        super().__init__()
        self._index = index

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [
            # The topic is for the table; the model judges the passage alone, as in LangChain.
            NodeWithScore(node=_node(one.topic, one.text), score=score)
            for one, score in self._index.search(query_bundle.query_str, CANDIDATES)
        ]


def _node(topic: str, text: str) -> TextNode:
    hidden = ["topic"]
    return TextNode(text=text, metadata={"topic": topic}, excluded_embed_metadata_keys=hidden)


def with_langchain(index: Bm25, compressor: LangChainRerank) -> list[Outcome]:
    """The five questions through a ContextualCompressionRetriever."""
    first = LangChainBm25(index=index)
    both = ContextualCompressionRetriever(base_compressor=compressor, base_retriever=first)
    both.invoke("Load the model before the clock starts.")

    def lines(documents: Iterable[Document], score: str) -> list[Line]:
        return [
            Line(one.metadata["topic"], one.page_content, one.metadata[score]) for one in documents
        ]

    return _outcomes(
        lambda question: lines(first.invoke(question), "bm25"),
        lambda question: lines(both.invoke(question), "relevance_score"),
    )


def with_llama_index(index: Bm25, postprocessor: LlamaIndexRerank) -> tuple[list[Outcome], str]:
    """The five questions through a query engine, and the last answer's sources as it prints them.

    It gives no LLM's answer, only the sources that an LLM would be given.
    """
    first = LlamaIndexBm25(index)
    engine = RetrieverQueryEngine(
        first,
        response_synthesizer=NoText(llm=MockLLM()),
        node_postprocessors=[postprocessor],
    )
    response: Any = engine.query("Load the model before the clock starts.")

    def lines(nodes: Iterable[NodeWithScore]) -> list[Line]:
        return [
            Line(one.node.metadata["topic"], one.node.get_content(), one.score or 0.0)
            for one in nodes
        ]

    def ask(question: str) -> list[Line]:
        nonlocal response
        response = engine.query(question)
        return lines(response.source_nodes)

    outcomes = _outcomes(lambda question: lines(first.retrieve(question)), ask)
    response.source_nodes = response.source_nodes[:3]
    return outcomes, response.get_formatted_sources(length=200)


def _outcomes(
    first: Callable[[str], list[Line]], both: Callable[[str], list[Line]]
) -> list[Outcome]:
    outcomes = []
    for question in QUESTIONS:
        started = time.perf_counter()
        before = first(question.text)
        middle = time.perf_counter()
        after = both(question.text)
        seconds = (middle - started, time.perf_counter() - middle)
        outcomes.append(Outcome(question, before, after, seconds))
    return outcomes


def table(title: str, outcomes: list[Outcome]) -> Table:
    """Both orders side by side, passages with the answer in green."""
    made = Table(title=title, title_justify="left", expand=True)
    made.add_column("#", justify="right")
    for name, unit in (("first stage", "BM25"), ("reranked", "P(yes)")):
        made.add_column(name, ratio=1)
        made.add_column(unit, justify="right")
    made.add_column("was", justify="right")
    for outcome in outcomes:
        made.add_row("", Text(outcome.question.text, "bold"), "", _time(outcome), "", "")
        place = {one.text: at for at, one in enumerate(outcome.first, 1)}
        pairs = zip(outcome.first[:SHOWN], outcome.reranked[:SHOWN], strict=True)
        for at, (before, after) in enumerate(pairs, 1):
            left = _cells(outcome.question, before, f"{before.score:.2f}")
            right = _cells(outcome.question, after, f"{after.score:.3f}")
            made.add_row(str(at), *left, *right, str(place[after.text]))
        made.add_section()
    return made


def _time(outcome: Outcome) -> Text:
    first, both = (f"{1000 * seconds:.0f} ms" for seconds in outcome.seconds)
    return Text(f"BM25 {first}, with reranking {both}", "dim")


def _cells(question: Question, line: Line, score: str) -> tuple[Text, Text]:
    right = question.answered_by(line.text)
    style = "green" if right else ""
    # A title is underlined in the text; in one line of a table that is noise.
    words = " ".join(word for word in line.text.split() if word.strip("*=-^~"))
    shown = f"{'✔ ' if right else ''}{line.topic}: {words}"
    return Text(shown, style, no_wrap=True, overflow="ellipsis"), Text(score, style)


def verdict(outcomes: list[Outcome]) -> str:
    """Where the answers stood and stand, in words; worse is said as plainly as better."""
    lines = []
    for outcome in outcomes:
        before, after = outcome.places()
        change = "missing from both"
        if before is not None and after is not None:
            word = "better" if after < before else "worse" if after > before else "same"
            change = f"place {before} -> {after} ({word})"
        lines.append(f"  {outcome.question.text} The answer: {change}")
    return "\n".join(lines)


def main(model: str | None = None, engine: Engine | None = None) -> int:
    """Print both tables; 1 if no question's answer moved up."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    corpus = passages()
    index = Bm25(corpus)
    console.print(
        f"\n{len(corpus)} passages of Python's language reference; BM25 picks {CANDIDATES}, the "
        "reranker orders them.\nThe model is [bold]tiny[/] (4 layers, carried by this package, on "
        "the CPU): it matches words, for\ndemonstration and self-test only. For real use: "
        'model="Qwen/Qwen3-Reranker-0.6B".\nThe questions were chosen to show something; '
        "docs/tiny-model.md has measurements.\n✔ marks a passage that holds the answer.\n"
    )
    outcomes = with_langchain(index, LangChainRerank(model=model, engine=engine, top_n=None))
    console.print(table("LangChain: ContextualCompressionRetriever", outcomes))
    other, sources = with_llama_index(
        index, LlamaIndexRerank(model=model, engine=engine, top_n=None)
    )
    console.print(table("LlamaIndex: RetrieverQueryEngine", other))
    console.print("The query engine's sources for the last question, as LlamaIndex prints them:\n")
    console.print(sources, markup=False, highlight=False)
    console.print("\nWhere the first passage with the answer stands, before and after tiny:")
    console.print(verdict(outcomes), highlight=False)
    moved = [(before, after) for before, after in map(Outcome.places, outcomes)]
    return 0 if any(a is not None and b is not None and a < b for b, a in moved) else 1


if __name__ == "__main__":
    sys.exit(main("tiny"))
