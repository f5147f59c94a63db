"""A repeated query with a cache of scores, in memory and on disk."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.checkpoint import model_folder
from benchmarks.pairs import one_query
from benchmarks.scale import Scale
from benchmarks.tables import Table, ratio
from benchmarks.turns import NoServer, Turns
from qwen3_ascend_retrievers import CachedEngine, LocalEngine, Reranker
from qwen3_ascend_retrievers.engines.cache import DiskStore, MemoryStore

MEMORY, DISK = "in memory", "in a folder"


def measure(scale: Scale) -> dict[str, Any]:
    """By store, what both calls took; other texts in each round."""
    engine = LocalEngine(model_folder(scale), device="cpu", dtype="float32")
    runs = {}
    with TemporaryDirectory() as folder, Reranker(engine) as plain:
        plain.rank("warm", ["up"])
        for name, store in ((MEMORY, MemoryStore()), (DISK, DiskStore(Path(folder)))):
            turns, reranker = Turns(NoServer()), Reranker(CachedEngine(engine, store))
            for number in range(scale.engine_rounds):
                pairs = one_query(scale)(number)[: scale.ablation_passages]
                # The engine keeps a query's part, which would make the second store's first faster.
                pairs = [(f"{name}: {query}", text) for query, text in pairs]
                scores = []
                for call in ("first", "second"):
                    with turns.timed(call, 1):
                        scores.append(reranker.score(pairs))
                assert scores[0] == scores[1]
            runs[name] = turns.record(dropped=0)
            store.close()
    return runs


def tables(runs: dict[str, Any]) -> list[Table]:
    """The first call's time beside the second's."""
    rows = [[name, str(ratio(run, "first", "second"))] for name, run in runs.items()]
    return [Table(("cache", "time of a first call / of the same call again"), rows)]
