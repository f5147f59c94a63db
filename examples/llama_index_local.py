"""LlamaIndex with a model in this process: the nodes that answer best, best first.

Usage: python examples/llama_index_local.py [MODEL], a hub name or a folder; without one, tiny.
"""

import sys

from llama_index.core.schema import NodeWithScore, TextNode

from qwen3_ascend_retrievers import Engine
from qwen3_ascend_retrievers.llama_index import Qwen3Rerank

texts = {
    "gravity": "Gravity is a force that attracts two bodies towards each other.",
    "shanghai": "Shanghai is the largest city of China by population.",
    "beijing": "The capital of China is Beijing.",
}


def main(model: str | None = None, engine: Engine | None = None) -> None:
    nodes = [NodeWithScore(node=TextNode(id_=key, text=texts[key]), score=0.5) for key in texts]
    reranker = Qwen3Rerank(model=model, engine=engine, top_n=2)
    for one in reranker.postprocess_nodes(nodes, query_str="What is the capital of China?"):
        was = one.node.metadata["retrieval_score"]
        print(f"{one.score:.4f} (retriever {was})  {one.node.node_id}  {one.node.get_content()}")


# vLLM's workers, where vLLM is installed, import this file again: the guard stops them here.
if __name__ == "__main__":
    main(sys.argv[1] if sys.argv[1:] else "tiny")
