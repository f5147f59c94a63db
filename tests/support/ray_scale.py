"""100,000 pairs through `rerank_dataset`, in a process of its own; prints what it took as JSON.

The engine hashes each text for about a tenth of a millisecond, less than any model takes: the
share of the time that is lost to Ray is greater here than with any of them.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import psutil
import ray
import ray.data

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.ray import rerank_dataset
from support.bulk_rows import HashEngine, hash_score, text_of

QUERIES = 1000
DOCUMENTS = 100
BLOCKS = 100
WORDS = 60
ROUNDS = 500
MB = 2**20


def rows(first: int, count: int) -> list[dict[str, Any]]:
    """Queries with their documents."""
    return [
        {
            "id": number,
            "query": f"{text_of(number, 5)}?",
            "documents": [text_of(number * DOCUMENTS + at, WORDS) for at in range(DOCUMENTS)],
        }
        for number in range(first, first + count)
    ]


def seconds_alone(queries: int) -> float:
    """Of one pair, with the engine in this process and nothing else."""
    reranker = Reranker(HashEngine(ROUNDS))
    sample = rows(0, queries)
    started = time.perf_counter()
    for row in sample:
        reranker.rank(row["query"], row["documents"])
    return (time.perf_counter() - started) / (queries * DOCUMENTS)


class Memory:
    """Samples of the actor's and this process's resident memory, in MB, twice a second."""

    def __init__(self) -> None:
        self.actor: list[float] = []
        self.driver: list[float] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        driver = psutil.Process()
        while not self._done.wait(0.5):
            self.driver.append(driver.memory_info().rss / MB)
            for process in psutil.process_iter(["cmdline"]):
                if "MapWorker" in " ".join(process.info["cmdline"] or ()):
                    # It may have ended since.
                    try:
                        self.actor.append(process.memory_info().rss / MB)
                    except psutil.NoSuchProcess:
                        continue


def row_of(number: dict[str, Any]) -> dict[str, Any]:
    """One query with its documents."""
    return rows(number["id"], 1)[0]


def results() -> Iterator[dict[str, Any]]:
    """The reranked rows, with the time at which each came."""
    dataset = ray.data.range(QUERIES, override_num_blocks=BLOCKS).map(row_of)
    engine = partial(HashEngine, ROUNDS)
    reranked = rerank_dataset(
        dataset, engine, query_column="query", documents_column="documents", batch_size=8
    )
    for batch in reranked.iter_batches(batch_size=None, batch_format="pyarrow"):
        moment = time.perf_counter()
        for row in batch.to_pylist():
            yield row | {"moment": moment}


def main() -> None:
    before = seconds_alone(20)
    ids, moments, wrong = [], [], 0
    with Memory() as memory:
        for row in results():
            ids.append(row["id"])
            moments.append(row["moment"])
            best = row["results"][0]
            document = row["documents"][best["index"]]
            right = hash_score(row["query"], document, ROUNDS)
            wrong += best["relevance_score"] != right or len(row["results"]) != DOCUMENTS
    after = seconds_alone(20)
    # From when the actor has started, to the end.
    first = moments.count(moments[0])
    on_ray = (moments[-1] - moments[0]) / ((len(ids) - first) * DOCUMENTS)
    values = {
        "rows": len(ids),
        "distinct": len(set(ids)),
        "wrong": wrong,
        "throughput": (before + after) / 2 / on_ray,
        "microseconds_alone": 1e6 * (before + after) / 2,
        "actor_mb": memory.actor,
        "driver_mb": memory.driver,
    }
    sys.stdout.write(json.dumps(values) + "\n")


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    main()
    ray.shutdown()
