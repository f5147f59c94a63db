"""The two nodes that answer best."""

from llama_index.core.schema import NodeWithScore, TextNode

from qwen3_ascend_retrievers.llama_index import Qwen3Rerank

texts = [
    "Gravity is a force that attracts two bodies towards each other.",
    "Shanghai is the largest city of China by population.",
    "The capital of China is Beijing.",
]
nodes = [NodeWithScore(node=TextNode(text=text), score=0.5) for text in texts]
postprocessor = Qwen3Rerank(model="tiny", top_n=2)

for node in postprocessor.postprocess_nodes(nodes, query_str="What is the capital of China?"):
    print(node.score, node.get_content())
