"""A cache of scores in a folder: nothing is scored twice, in no later process either.

Needs the extra `cache` (diskcache). In memory: cache=True, without the extra.
"""

import tempfile

from langchain_core.documents import Document

from qwen3_ascend_retrievers import CachedEngine, Engine, LocalEngine, Reranker
from qwen3_ascend_retrievers.langchain import Qwen3Rerank

query = "What is the capital of China?"
texts = [
    "The capital of China is Beijing.",
    "Gravity attracts bodies to each other.",
    "Boil the egg for eight minutes.",
]


def main(engine: Engine) -> None:
    with tempfile.TemporaryDirectory() as folder:
        reranker = Reranker(CachedEngine(engine, folder))
        for name in ("first call", "the same query again"):
            usage = reranker.rank(query, texts).usage
            print(f"{name}: {usage.cache_hits} of {usage.passages} scores from the cache")
        usage = reranker.rank(query, [*texts, "Beijing has a population of 21 million."]).usage
        print(f"one new document: {usage.cache_hits} of {usage.passages} scores from the cache")

        # The same folder in an adapter, and in any other process.
        rerank = Qwen3Rerank(engine=engine, cache=folder, top_n=1)
        documents = [Document(text) for text in texts]
        print(f"LangChain: {rerank.compress_documents(documents, query)[0].page_content}")
        rerank.close()


if __name__ == "__main__":
    # RemoteEngine needs CachedEngine(..., cache_namespace="a name for the server's weights").
    with LocalEngine("tiny") as local:
        main(local)
