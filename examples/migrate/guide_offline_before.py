"""Documents by relevance with vLLM in this process, the prompt built by hand."""

from vllm import LLM

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

if __name__ == "__main__":
    model = LLM(
        model="Qwen/Qwen3-Reranker-8B",
        runner="pooling",
        hf_overrides={
            "architectures": ["Qwen3ForSequenceClassification"],
            "classifier_from_token": ["no", "yes"],
            "is_original_qwen3_reranker": True,
        },
    )
    outputs = model.score(
        f"{PREFIX}<Instruct>: {TASK}\n<Query>: {query}\n",
        [f"<Document>: {document}{SUFFIX}" for document in documents],
    )
    for document, output in zip(documents, outputs, strict=True):
        print(output.outputs.score, document)
