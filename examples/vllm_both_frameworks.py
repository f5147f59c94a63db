"""One vLLM engine in this process, shared by a LangChain compressor and a LlamaIndex postprocessor.

Usage: python examples/vllm_both_frameworks.py [MODEL], a hub name or a folder; without one, tiny.
"""

import sys

from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode

from qwen3_ascend_retrievers import VLLMEngine
from qwen3_ascend_retrievers.langchain import Qwen3Rerank as LangChainRerank
from qwen3_ascend_retrievers.llama_index import Qwen3Rerank as LlamaIndexRerank

QUERY = "What is the capital of China?"
TEXTS = [
    "Gravity is a force that attracts two bodies towards each other.",
    "Shanghai is the largest city of China by population.",
    "The capital of China is Beijing.",
]


def main() -> None:
    model = sys.argv[1] if sys.argv[1:] else "tiny"
    # Closed at the end of the block: vLLM's worker processes end with it.
    with VLLMEngine(model, max_length=2048) as engine:
        compressor = LangChainRerank(engine=engine, top_n=1)
        for document in compressor.compress_documents([Document(text) for text in TEXTS], QUERY):
            score = document.metadata["relevance_score"]
            print(f"LangChain   {score:.4f}  {document.page_content}")
        postprocessor = LlamaIndexRerank(engine=engine, top_n=1)
        nodes = [NodeWithScore(node=TextNode(text=text), score=0.5) for text in TEXTS]
        for node in postprocessor.postprocess_nodes(nodes, query_str=QUERY):
            print(f"LlamaIndex  {node.score:.4f}  {node.get_content()}")


# vLLM's workers import this file again; without the guard each would start the engine again.
if __name__ == "__main__":
    main()
