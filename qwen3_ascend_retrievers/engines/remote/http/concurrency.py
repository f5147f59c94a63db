"""Runs coroutines concurrently; the first failure stops the others and is raised unchanged."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import anyio

Job = Callable[[], Awaitable[None]]
# How often a caller's cancel event is checked while requests are under way, in seconds.
_CHECK_INTERVAL = 0.05


async def run_concurrently(jobs: Sequence[Job], check: Callable[[], None] | None = None) -> None:
    """Run all jobs to their end.

    Args:
        jobs: what to run.
        check: called at intervals; an error that it raises stops the jobs.

    Raises:
        the error of the first job, or `check`, that failed; no ExceptionGroup.
    """
    failures: list[Exception] = []
    pending = len(jobs)
    if not jobs:
        return
    if len(jobs) == 1 and check is None:
        await jobs[0]()
        return
    async with anyio.create_task_group() as group:

        def stop() -> None:
            group.cancel_scope.cancel()

        async def run(job: Job) -> None:
            nonlocal pending
            try:
                await job()
            except Exception as error:
                failures.append(error)
                stop()
            pending -= 1
            if pending == 0:
                stop()

        async def watch(check: Callable[[], None]) -> None:
            while True:
                try:
                    check()
                except Exception as error:
                    failures.append(error)
                    stop()
                await anyio.sleep(_CHECK_INTERVAL)

        if check is not None:
            group.start_soon(watch, check)
        for job in jobs:
            group.start_soon(run, job)
    if failures:
        raise failures[0]
