"""How much faster 16 callers at once are than one after another, on one VLLMEngine.

    .venv-vllm/bin/python tests/benchmarks/vllm_callers.py [MODEL]

Prints passages per second of both, in turns in one run, and their ratio. No two queries are the
same, so that the prefix cache helps neither.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from qwen3_ascend_retrievers import Reranker, VLLMEngine

CALLERS, CALLS, DOCUMENTS, ROUNDS = 16, 20, 2, 3
WORDS = ("capital", "town", "egg", "water", "boil", "China", "gravity", "planet", "law", "river")


def main() -> None:
    """Measure and print."""
    model = sys.argv[1] if len(sys.argv) > 1 else "tiny"
    chance = random.Random(0)

    def text(words: int) -> str:
        return " ".join(chance.choices(WORDS, k=words))

    def jobs() -> list[tuple[str, list[str]]]:
        return [(text(9), [text(30) for _ in range(DOCUMENTS)]) for _ in range(CALLERS * CALLS)]

    with Reranker(VLLMEngine(model, max_length=1024, enforce_eager=True)) as reranker:
        reranker.rank("warm", ["up"])

        def measure(callers: int) -> float:
            todo = jobs()
            begun = time.perf_counter()
            with ThreadPoolExecutor(callers) as pool:
                list(pool.map(lambda job: reranker.rank(*job), todo))
            return len(todo) * DOCUMENTS / (time.perf_counter() - begun)

        speeds = [(measure(1), measure(CALLERS)) for _ in range(ROUNDS)]
    one, many = (statistics.median(each) for each in zip(*speeds, strict=True))
    print(f"{model}: 1 caller {one:.0f} passages/s, {CALLERS} callers {many:.0f} passages/s")
    print(f"ratio {many / one:.2f} (wanted: at least 2)")


if __name__ == "__main__":
    main()
