"""Documents by relevance with vLLM in this process."""

import sys

from qwen3_ascend_retrievers import Reranker, VLLMEngine

query = "What is the capital of China?"
documents = [
    "Gravity is a force that attracts two bodies towards each other.",
    "The capital of China is Beijing.",
]
model = sys.argv[1] if len(sys.argv) > 1 else "Qwen/Qwen3-Reranker-8B"

if __name__ == "__main__":
    with Reranker(VLLMEngine(model)) as reranker:
        for result in reranker.rank(query, documents).results:
            print(result.score, result.document)
