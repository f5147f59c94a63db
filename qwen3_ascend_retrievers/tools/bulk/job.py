"""A job: all batches of an input through one or more workers, each written when it is finished."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import uuid4

from ...core.prompt import NEUTRALISATION_VERSION, TEMPLATE_VERSION
from ...engines.configured import scoring_config
from ...errors import InvalidInputError
from ...models.fingerprint import stamps_of_models
from ...reranker import Reranker
from .batch_queue import BatchQueue, WorkerLostError
from .batches import (
    RowBatch,
    all_values,
    failed_rows,
    pairs_in,
    readable,
    row_batches,
)
from .columns import Columns
from .finished import FinishedBatches, JobCounts
from .groups import GroupRanking, QueryGroup
from .inputs import FORMATS, PARQUET, InputFiles, format_of
from .outputs import as_jsonl, as_parquet
from .tables import added_values, groups_of

# A worker has its next batch while it is at one.
_BATCHES_AT_ONCE: Final = 2
logger = logging.getLogger(__name__)

JobProgress = Callable[[JobCounts], None]


class Worker(Protocol):
    """Ranks groups: a GroupScorer, or one on another machine."""

    async def start(self) -> None:
        """Wait until it can; raises RerankError if it never will."""
        ...

    async def rank(self, groups: Sequence[QueryGroup]) -> list[GroupRanking]:
        """One ranking for each group, in their order; raises WorkerLostError if it is gone."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkJob:
    """What is to be done.

    Args:
        inputs: the files that are read.
        output: the file that is written, .parquet or .jsonl.
        columns: that are read and added.
        pairs: of a batch.

    Raises:
        InvalidInputError: the output has another ending, or is an input; or a column is missing.
    """

    inputs: InputFiles
    output: Path
    columns: Columns
    pairs: int

    def __post_init__(self) -> None:
        if format_of(self.output) not in FORMATS:
            raise InvalidInputError(f"{self.output} must end in {' or '.join(FORMATS)}.")
        if self.output.resolve() in {path.resolve() for path in self.inputs.paths}:
            raise InvalidInputError(f"{self.output} is an input. Take another name.")
        self.columns.check(self.inputs.column_names())

    def checked_count(self) -> int:
        """How many rows there are. Pairs are all read for it.

        Raises:
            InvalidInputError: there is none, or pairs of a query are apart.
        """
        if self.columns.is_pairs:
            batches = row_batches(self.inputs.rows(self.columns), self.columns, self.pairs)
            count = sum(len(batch.rows) for batch in batches)
        else:
            count = self.inputs.count()
        if count == 0:
            raise InvalidInputError(f"There is no row in {self.inputs.paths[0]}.")
        return count

    def identity(self, reranker: Reranker) -> dict[str, Any]:
        """What the output depends on; JSON-safe."""
        config = scoring_config(reranker.engine)
        settings = reranker.settings
        stats = [(path.resolve(), path.stat()) for path in self.inputs.paths]
        return {
            "files": [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in stats],
            "columns": asdict(self.columns),
            "pairs": self.pairs,
            "engine": config,
            "weights": stamps_of_models(config),
            "settings": asdict(settings),
            "versions": [TEMPLATE_VERSION, NEUTRALISATION_VERSION],
        }


def run_job(
    job: BulkJob, finished: FinishedBatches, workers: Sequence[Worker], progress: JobProgress
) -> Coroutine[Any, Any, JobCounts]:
    """Score what is not finished, and write the output; to be awaited.

    Args:
        job: what is to be done.
        finished: what is done already; each batch is added to it as soon as it is scored.
        workers: that score.
        progress: called with the counts of each batch that is scored now.

    Raises:
        RerankError: the engine failed, and not a row, or a batch ended several workers. What was
            finished stays.
        InvalidInputError: the input cannot be read.
    """
    # Before there is a loop: it may read all of the input, and Ctrl-C must end it at once.
    schema = job.inputs.schema() if format_of(job.output) == PARQUET else None
    return _run_job(job, finished, workers, progress, schema)


async def _run_job(
    job: BulkJob,
    finished: FinishedBatches,
    workers: Sequence[Worker],
    progress: JobProgress,
    schema: Any,
) -> JobCounts:
    rows = job.inputs.rows(job.columns)
    batches = row_batches(rows, job.columns, job.pairs)
    queue = BatchQueue(batch for batch in batches if batch.number not in finished.counts)

    async def work(worker: Worker) -> None:
        # A worker that still waits for its machine must not keep the job from its end.
        while await _is_first(worker.start(), queue.all_done):
            try:
                async for batch in queue:
                    content, counts = await _scored(batch, worker, job.columns, schema)
                    finished.add(batch.number, content, counts)
                    progress(counts)
                    queue.task_done()
            except WorkerLostError as error:
                queue.give_back(batch, error)
                logger.warning("A batch goes to another worker: %s", error)
            else:
                return

    if not queue.is_empty():
        await _all(work(worker) for worker in workers for _ in range(_BATCHES_AT_ONCE))
    finished.join()
    return finished.total()


async def _all(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Wait for all of it; if one fails or this is cancelled, the others are ended first."""
    tasks = [asyncio.create_task(part) for part in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _is_first(work: Coroutine[Any, Any, None], event: asyncio.Event) -> bool:
    """Whether the work is done before the event comes; its error is raised."""
    task, waiting = asyncio.create_task(work), asyncio.create_task(event.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        return task.done()
    finally:
        task.cancel()
        waiting.cancel()


async def _scored(
    batch: RowBatch, worker: Worker, columns: Columns, schema: Any
) -> tuple[bytes, JobCounts]:
    rows = readable(batch)
    queries = [row.query for row in rows]
    groups = groups_of(queries, [row.texts for row in rows], columns)
    rankings = await _rankings(worker, groups)
    values = all_values(batch, added_values(rankings, queries, columns), columns)
    if schema is None:
        content = as_jsonl(batch, values, columns)
    else:
        content = as_parquet(batch, values, columns, schema)
    return content, JobCounts(
        rows=len(batch.rows),
        pairs=pairs_in(groups),
        cut=sum(ranking.cut for ranking in rankings),
        failed=failed_rows(values, columns),
        cache_hits=sum(ranking.cache_hits for ranking in rankings),
    )


async def _rankings(worker: Worker, groups: Sequence[QueryGroup]) -> list[GroupRanking]:
    """One ranking for each group.

    Raises:
        RerankError: the engine fails for a harmless text, too.
    """
    rankings = await worker.rank(groups)
    failed = [at for at, ranking in enumerate(rankings) if ranking.engine_failure is not None]
    if failed:
        # A text that no cache can have.
        (harmless,) = await worker.rank([QueryGroup("query", [f"text {uuid4().hex}"])])
        if harmless.engine_failure is not None:
            raise harmless.engine_failure
        again = await worker.rank([groups[at] for at in failed])
        for at, ranking in zip(failed, again, strict=True):
            rankings[at] = ranking
    return rankings
