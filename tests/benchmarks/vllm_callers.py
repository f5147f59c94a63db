"""What callers on one VLLMEngine get from and cost each other.

    .venv-vllm/bin/python tests/benchmarks/vllm_callers.py [MODEL]

Prints passages per second of 16 callers at once and of one after another, in turns in one run, and
their ratio. No two queries are the same, so that the prefix cache helps neither. Then what turns
give and cost: the share of a large call's time that a small one beside it takes, and the speed of
the large call alone, each with turns and without.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from qwen3_ascend_retrievers import Reranker, VLLMEngine

CALLERS, CALLS, DOCUMENTS, ROUNDS = 16, 20, 2, 3
LARGE, SMALL = 2000, 5
WORDS = ("capital", "town", "egg", "water", "boil", "China", "gravity", "planet", "law", "river")


def main() -> None:
    """Measure and print."""
    model = sys.argv[1] if len(sys.argv) > 1 else "tiny"
    chance = random.Random(0)

    def text(words: int) -> str:
        return " ".join(chance.choices(WORDS, k=words))

    def jobs() -> list[tuple[str, list[str]]]:
        return [(text(9), [text(30) for _ in range(DOCUMENTS)]) for _ in range(CALLERS * CALLS)]

    engine = VLLMEngine(model, max_length=1024, enforce_eager=True)
    with Reranker(engine) as reranker:
        reranker.rank("warm", ["up"])

        def measure(callers: int) -> float:
            todo = jobs()
            begun = time.perf_counter()
            with ThreadPoolExecutor(callers) as pool:
                list(pool.map(lambda job: reranker.rank(*job), todo))
            return len(todo) * DOCUMENTS / (time.perf_counter() - begun)

        def large() -> float:
            documents = [text(60) for _ in range(LARGE)]
            begun = time.perf_counter()
            reranker.rank(text(9), documents)
            return time.perf_counter() - begun

        def beside() -> float:
            with ThreadPoolExecutor(1) as pool:
                whole = pool.submit(large)
                time.sleep(1)
                begun = time.perf_counter()
                reranker.rank(text(9), [text(20) for _ in range(SMALL)])
                return (time.perf_counter() - begun) / whole.result()

        def without_turns(work: Callable[[], float]) -> float:
            queue = engine._host.loaded.requests._queue
            room, queue._room = queue._room, sys.maxsize
            try:
                return work()
            finally:
                queue._room = room

        speeds = [(measure(1), measure(CALLERS)) for _ in range(ROUNDS)]
        waits = [(beside(), without_turns(beside)) for _ in range(ROUNDS)]
        times = [(large(), without_turns(large)) for _ in range(ROUNDS)]
    one, many = medians(speeds)
    print(f"{model}: 1 caller {one:.0f} passages/s, {CALLERS} callers {many:.0f} passages/s")
    print(f"ratio {many / one:.2f} (wanted: at least 2)")
    with_turns, without = medians(waits)
    print(f"{SMALL} documents beside {LARGE}: {with_turns:.0%} of their time (wanted: at most 33%)")
    print(f"without turns: {without:.0%}")
    with_turns, without = medians(times)
    print(f"whole throughput with turns: {without / with_turns:.2f} (wanted: at least 0.95)")


def medians(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Of the first numbers and of the second ones."""
    first, second = zip(*pairs, strict=True)
    return statistics.median(first), statistics.median(second)


if __name__ == "__main__":
    main()
