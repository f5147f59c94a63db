"""Documents by relevance from a server, the prompt built by hand."""

import requests

PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
TASK = "Given a web search query, retrieve relevant passages that answer the query"

query = "What is the capital of China?"
documents = [
    "Gravity is a force that attracts two bodies towards each other.",
    "The capital of China is Beijing.",
]
body = {
    "query": f"{PREFIX}<Instruct>: {TASK}\n<Query>: {query}\n",
    "documents": [f"<Document>: {document}{SUFFIX}" for document in documents],
}
reply = requests.post("http://npu-host:8888/v1/rerank", json=body, timeout=60).json()

for result in reply["results"]:
    print(result["relevance_score"], documents[result["index"]])
