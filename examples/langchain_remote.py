"""LangChain with a served model: any server with /v1/rerank, such as vLLM or vLLM-Ascend.

    python examples/langchain_remote.py http://127.0.0.1:8000

A key, if the server wants one, is read from the environment variable QWEN3_RERANK_API_KEY.
"""

import sys

from langchain_core.documents import Document

from qwen3_ascend_retrievers.langchain import Qwen3Rerank

documents = [
    Document("Gravity is a force that attracts two bodies towards each other.", id="gravity"),
    Document("The capital of China is Beijing.", id="beijing"),
]
reranker = Qwen3Rerank(base_url=sys.argv[1], top_n=1)

for document in reranker.compress_documents(documents, "What is the capital of China?"):
    print(f"{document.metadata['relevance_score']:.4f}  {document.id}  {document.page_content}")
