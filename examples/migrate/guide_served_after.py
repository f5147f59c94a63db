"""Documents by relevance from a server, which is asked first who builds the prompt."""

import sys

from qwen3_ascend_retrievers import RemoteEngine, Reranker

query = "What is the capital of China?"
documents = [
    "Gravity is a force that attracts two bodies towards each other.",
    "The capital of China is Beijing.",
]
url = sys.argv[1] if len(sys.argv) > 1 else "http://npu-host:8888"

with Reranker(RemoteEngine(url)) as reranker:
    for result in reranker.rank(query, documents).results:
        print(result.score, result.document)
