"""Score only the first documents, and combine the retriever's order with the reranker's."""

from qwen3_ascend_retrievers import Engine, LocalEngine, Reranker

query = "What is the capital of China?"
# In the retriever's order.
documents = [
    "China is a country in East Asia.",
    "Gravity attracts bodies to each other.",
    "The capital of China is Beijing.",
    "Boil the egg for eight minutes.",
]


def main(engine: Engine) -> None:
    ranking = Reranker(engine, max_documents=3, combine="rrf").rank(query, documents)
    for result in ranking.results:
        if result.fusion is None:
            print(f"not scored: {result.document}")
            continue
        rank, retriever_rank, fused = result.fusion
        print(f"{fused:.4f} = 1/(60+{rank}) + 1/(60+{retriever_rank})  {result.document}")


if __name__ == "__main__":
    with LocalEngine("tiny") as local:
        main(local)
