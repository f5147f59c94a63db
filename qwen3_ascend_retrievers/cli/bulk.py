"""`qwen3-rerank bulk`: tables with any number of queries, here or on a Ray cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..reranker import Reranker
from ..tools.bulk.cluster import cluster_workers
from ..tools.bulk.finished import FinishedBatches, JobCounts
from ..tools.bulk.groups import GroupScorer
from ..tools.bulk.inputs import InputFiles
from ..tools.bulk.job import BulkJob, JobProgress, run_job
from ..tools.bulk.recipe import recipe_of
from ..tools.wording import counted
from .bulk_options import ClusterOptions, ColumnOptions, ResultOptions
from .options import EngineOptions, Json
from .output import err, out, print_json, print_note
from .running import command, run_async

# Lines of progress in a log, where no bar can move.
_LOG_SECONDS: Final = 30.0


@command
def bulk_command(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN", help="A .parquet or .jsonl file, or a folder with files of one of these."
        ),
    ],
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="A .parquet or .jsonl file for all rows.")
    ],
    column_options: ColumnOptions,
    result_options: ResultOptions,
    cluster: ClusterOptions,
    *,
    json: Json = False,
    options: EngineOptions,
) -> None:
    """Rerank tables of any size, and go on after an interruption.

    A row holds a query with a list of documents, and gets the column results: index, score and
    whether it was cut, best first. Or it holds one pair, in rows sorted by query, and gets
    relevance_score, rank and truncated. The error of a row that could not be scored is in the
    column __inference_error__, which is empty in all others.

    What is finished is kept in the folder OUT.parts, whatever ends the command: the same command
    goes on from there, and its output is the same to the byte as without an interruption. If the
    engine fails, or the server, and not a row, the command stops.

    With --ray-address the rows are scored by actors on a cluster, each with an engine of its own;
    files are read and written here.

    Example: qwen3-rerank bulk queries.parquet scores.parquet --model tiny
    """
    inputs = InputFiles.at(source)
    columns = column_options.columns(inputs, staged=options.first_model is not None)
    job = BulkJob(inputs=inputs, output=output, columns=columns, pairs=result_options.pairs())
    result_options.check_output(output)
    make_reranker = partial(
        options.reranker,
        top_n=result_options.top_n,
        threshold=result_options.threshold,
        show_progress=False,
    )
    reranker = make_reranker()
    cluster.check(reranker.engine)
    total = job.checked_count()
    fresh = result_options.fresh
    started = time.monotonic()
    with (
        FinishedBatches(output, job.identity(reranker), fresh=fresh) as finished,
        _stop_is_told(finished, total, fresh),
        _progress(finished.total(), total) as progress,
    ):
        counts = _run(job, finished, make_reranker, cluster, progress)
    _print_summary(counts, output, time.monotonic() - started, json)


def _run(
    job: BulkJob,
    finished: FinishedBatches,
    make_reranker: Callable[[], Reranker],
    cluster: ClusterOptions,
    progress: JobProgress,
) -> JobCounts:
    if cluster.ray_address is None:
        return run_async(_run_here(job, finished, make_reranker, progress))
    reranker = make_reranker()
    with cluster_workers(
        cluster.ray_address,
        recipe_of(reranker.engine),
        reranker.settings,
        concurrency=cluster.actors(),
        resources=cluster.resources(),
    ) as workers:
        return run_async(run_job(job, finished, workers, progress))


async def _run_here(
    job: BulkJob,
    finished: FinishedBatches,
    make_reranker: Callable[[], Reranker],
    progress: JobProgress,
) -> JobCounts:
    scorer = GroupScorer(lambda: make_reranker().engine, make_reranker().settings)
    try:
        return await run_job(job, finished, [scorer], progress)
    finally:
        await scorer.aclose()


@contextmanager
def _stop_is_told(finished: FinishedBatches, total: int, fresh: bool) -> Iterator[None]:
    try:
        yield
    # Also on Ctrl-C, SIGTERM and a full disk.
    except BaseException:
        if finished.counts:
            print_note(
                f"Finished, and kept in {finished.folder}: {finished.total().rows:,} of "
                f"{counted(total, 'row')}. The same command "
                f"{'without --fresh ' * fresh}goes on from there."
            )
        raise


@contextmanager
def _progress(before: JobCounts, total: int) -> Iterator[JobProgress]:
    """What is told of each finished batch: a bar on a terminal, else a line now and then."""
    if before.rows:
        print_note(f"Finished before: {before.rows:,} of {counted(total, 'row')}.")
    console = err()
    started = last = time.monotonic()
    now = before

    with Progress(
        TextColumn("reranking"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} rows, {task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("", total=total, completed=before.rows, rate="")

        def advance(counts: JobCounts) -> None:
            nonlocal now, last
            now += counts
            seconds = time.monotonic() - started
            rate = f"{(now.pairs - before.pairs) / seconds:,.0f} pairs/s"
            bar.update(task, completed=now.rows, rate=rate)
            if not console.is_terminal and time.monotonic() - last >= _LOG_SECONDS:
                last = time.monotonic()
                left = (total - now.rows) * seconds / (now.rows - before.rows)
                print_note(
                    f"{now.rows:,} of {counted(total, 'row')}, {rate}, {_duration(left)} left"
                )

        yield advance


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _print_summary(counts: JobCounts, output: Path, seconds: float, json: bool) -> None:
    if json:
        values: dict[str, Any] = asdict(counts)
        print_json({**values, "seconds": round(seconds, 3), "output": str(output)})
        return
    out().print(
        f"{counted(counts.rows, 'row')}, {counted(counts.pairs, 'pair')}; {counts.cut:,} cut; "
        f"{counted(counts.failed, 'row')} failed; {counts.cache_hits:,} scores from the cache"
    )
    print_note(f"{output}, {_duration(seconds)}")
