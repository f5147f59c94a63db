"""LangChain with a model in this process: the documents that answer best, as a step of a chain.

Usage: python examples/langchain_local.py [MODEL], a hub name or a folder; without one, tiny.
"""

import sys

from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda

from qwen3_ascend_retrievers import Engine
from qwen3_ascend_retrievers.langchain import Qwen3Rerank

documents = [
    Document("Gravity is a force that attracts two bodies towards each other.", id="gravity"),
    Document("Shanghai is the largest city of China by population.", id="shanghai"),
    Document("The capital of China is Beijing.", id="beijing"),
]


def main(model: str | None = None, engine: Engine | None = None) -> None:
    retriever = RunnableLambda(lambda query: {"query": query, "documents": documents})
    reranker = Qwen3Rerank(model=model, engine=engine, top_n=2)
    chain = retriever | reranker.as_runnable()
    for document in chain.invoke("What is the capital of China?"):
        print(f"{document.metadata['relevance_score']:.4f}  {document.id}  {document.page_content}")


# vLLM's workers, where vLLM is installed, import this file again: the guard stops them here.
if __name__ == "__main__":
    main(sys.argv[1] if sys.argv[1:] else "tiny")
