"""A cascade: a small model scores everything, a big one only the best of it."""

from qwen3_ascend_retrievers import CascadeEngine, Engine, LocalEngine, Reranker
from qwen3_ascend_retrievers.testing import FakeEngine

query = "What is the capital of China?"
documents = [
    "Gravity attracts bodies to each other.",
    "The capital of China is Beijing.",
    "Boil the egg for eight minutes.",
    "China is a country in East Asia, and its population is large.",
]


def main(engine: Engine) -> None:
    # Here the first stage counts common words. With models, for instance:
    # CascadeEngine([VLLMEngine("Qwen/Qwen3-Reranker-0.6B"), RemoteEngine("http://npu-host:8000")])
    cascade = CascadeEngine([FakeEngine(), engine], keep=2)
    for result in Reranker(cascade).rank(query, documents).results:
        assert result.stage is not None
        print(f"stage {result.stage.number}: {result.score:.4f}  {result.document}")


if __name__ == "__main__":
    with LocalEngine("tiny") as local:
        main(local)
