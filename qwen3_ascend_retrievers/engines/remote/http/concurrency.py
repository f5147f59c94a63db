"""Runs coroutines concurrently; the first failure stops the others and is raised unchanged."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from itertools import islice
from typing import Final

import anyio

Job = Callable[[], Awaitable[None]]
# Of one call, so that a long one fills neither the server nor the turns of others.
_AT_ONCE: Final = 8
# How often a caller's cancel event is checked while requests are under way, in seconds.
_CHECK_INTERVAL = 0.05


async def run_concurrently(jobs: Iterable[Job], check: Callable[[], None] | None = None) -> None:
    """Run all jobs to their end, a few at once; each is taken from `jobs` when its time comes.

    Args:
        jobs: what to run.
        check: called at intervals; an error that it raises stops the jobs.

    Raises:
        the error of the first job, or `check`, that failed; no ExceptionGroup.
    """
    remaining = iter(jobs)
    first_jobs = list(islice(remaining, _AT_ONCE))
    if len(first_jobs) < 2 and check is None:
        for job in first_jobs:
            await job()
        return
    failures: list[Exception] = []
    pending = len(first_jobs)
    async with anyio.create_task_group() as group:

        def stop() -> None:
            group.cancel_scope.cancel()

        async def work(job: Job | None) -> None:
            nonlocal pending
            try:
                while job is not None:
                    await job()
                    job = next(remaining, None)
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
        for job in first_jobs:
            group.start_soon(work, job)
    if failures:
        raise failures[0]
