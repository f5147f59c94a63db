"""Many queries at once, without blocking the event loop; and many pairs in one engine call."""

import asyncio

from qwen3_ascend_retrievers import Engine, LocalEngine, Reranker

documents = [
    "Paris is the capital of France.",
    "The capital of China is Beijing.",
    "Gravity is a force that attracts two bodies towards each other.",
]
queries = ["What is the capital of China?", "capital of France", "What attracts two bodies?"]


async def main(engine: Engine) -> None:
    reranker = Reranker(engine, top_n=1)
    rankings = await asyncio.gather(*(reranker.arank(one, documents) for one in queries))
    scores = await reranker.ascore(list(zip(queries, documents, strict=True)))
    for query, ranking in zip(queries, rankings, strict=True):
        print(f"{query} -> {ranking.results[0].document}")
    print("scores of three (query, document) pairs:", [round(score, 4) for score in scores])


if __name__ == "__main__":
    # VLLMEngine("tiny") or RemoteEngine("http://npu-host:8000") will do as well.
    with LocalEngine("tiny") as local:
        asyncio.run(main(local))
