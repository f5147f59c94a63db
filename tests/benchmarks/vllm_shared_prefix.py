"""VLLMEngine against plain `LLM.score` with vLLM's defaults, on a random model of the 0.6B's shape.

    .venv-vllm/bin/python tests/benchmarks/vllm_shared_prefix.py FOLDER [LAYERS]

Writes the model into FOLDER if it is not there (1.2 GB with all 28 layers). 32 documents of 40 to
160 words, with one query and then with 32; both sides in turns in one run, new texts each time.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from qwen3_ascend_retrievers import DEFAULT_INSTRUCTION, Reranker, VLLMEngine
from qwen3_ascend_retrievers.core.prompt import document_part, query_part
from qwen3_ascend_retrievers.engines.vllm.compat import ORIGINAL
from support.qwen_tokenizer import qwen_tokenizer
from support.random_model import SHAPE_06B, make_random_model

ROUNDS, DOCUMENTS, LENGTH = 3, 32, 1024
WORDS = ("capital", "town", "egg", "water", "boil", "China", "gravity", "planet", "law", "river")
Pairs = list[tuple[str, str]]


def pairs(chance: random.Random, queries: int) -> Pairs:
    """New texts: so many different queries over all documents."""

    def text(words: int) -> str:
        return " ".join(chance.choices(WORDS, k=words))

    asked = [text(10) for _ in range(queries)]
    return [(asked[at % queries], text(chance.randint(40, 160))) for at in range(DOCUMENTS)]


def timed(score: Callable[[Pairs], object], todo: Pairs) -> float:
    """Seconds."""
    begun = time.perf_counter()
    score(todo)
    return time.perf_counter() - begun


def main() -> None:
    """Measure and print."""
    from vllm import LLM

    folder = Path(sys.argv[1])
    if not (folder / "model.safetensors").is_file():
        layers = int(sys.argv[2]) if len(sys.argv) > 2 else 28
        shape = SHAPE_06B | {"num_hidden_layers": layers}
        make_random_model(folder, qwen_tokenizer(), shape=shape)
    plain = LLM(
        str(folder), runner="pooling", hf_overrides=dict(ORIGINAL), max_model_len=LENGTH,
        kv_cache_memory_bytes=2 << 30,
    )  # fmt: skip

    def by_vllm(todo: Pairs) -> object:
        queries = [query_part(DEFAULT_INSTRUCTION, query) for query, _ in todo]
        return plain.score(queries, [document_part(one) for _, one in todo], use_tqdm=False)

    chance = random.Random(0)
    with Reranker(VLLMEngine(str(folder), max_length=LENGTH)) as reranker:
        for queries, wanted in ((1, 1.5), (DOCUMENTS, 0.95)):
            for score in (by_vllm, reranker.score):
                score(pairs(chance, queries))
            turns = []
            for _ in range(ROUNDS):
                todo = pairs(chance, queries)
                turns.append((timed(by_vllm, todo), timed(reranker.score, todo)))
            theirs, ours = (statistics.median(each) for each in zip(*turns, strict=True))
            print(f"{queries} queries: LLM.score {theirs:.2f} s, VLLMEngine {ours:.2f} s")
            print(f"  {theirs / ours:.2f} times as fast (wanted: at least {wanted})")


if __name__ == "__main__":
    main()
