"""What LocalEngine keeps: a first call, the query again, and another with the same instruction.

Each round has an instruction that the engine has not seen.
"""

from __future__ import annotations

import random
from typing import Any

from benchmarks.checkpoint import model_folder
from benchmarks.pairs import words
from benchmarks.scale import Scale
from benchmarks.tables import Table, ratio
from benchmarks.turns import NoServer, Turns
from qwen3_ascend_retrievers import DEFAULT_INSTRUCTION, LocalEngine, Reranker

FIRST = "a first call"
SAME_QUERY = "the same query again"
SAME_INSTRUCTION = "another query, the same instruction"
_QUERY_WORDS, _DOCUMENT_WORDS = 10, 40


def measure(scale: Scale) -> dict[str, Any]:
    """What each of the three calls took; other documents each time."""
    turns, chance = Turns(NoServer()), random.Random(0)
    with Reranker(LocalEngine(model_folder(scale), device="cpu", dtype="float32")) as reranker:
        reranker.rank("warm", ["up"])
        for number in range(scale.repeated_rounds):
            query, other = words(chance, _QUERY_WORDS), words(chance, _QUERY_WORDS)
            instruction = f"{number}. {DEFAULT_INSTRUCTION}"
            for name, asked in ((FIRST, query), (SAME_QUERY, query), (SAME_INSTRUCTION, other)):
                documents = [words(chance, _DOCUMENT_WORDS) for _ in range(scale.repeated_passages)]
                with turns.timed(name, 1):
                    reranker.rank(asked, documents, instruction=instruction)
    return turns.record(dropped=0)


def tables(run: dict[str, Any]) -> list[Table]:
    """Times of a first call beside those of the others."""
    rows = [[name, str(ratio(run, FIRST, name))] for name in (SAME_QUERY, SAME_INSTRUCTION)]
    return [Table(("call", "time of a first call / this call's"), rows)]
