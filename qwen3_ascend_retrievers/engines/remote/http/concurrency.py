"""Runs coroutines side by side; the first failure stops the others and is raised as it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import anyio

Job = Callable[[], Awaitable[None]]
# How soon a caller's cancel event is noticed while requests are under way, in seconds.
_GLANCE = 0.05


async def run_concurrently(jobs: Sequence[Job], check: Callable[[], None] | None = None) -> None:
    """Run all jobs to their end.

    Args:
        jobs: what to run.
        check: called every now and then; what it raises stops the jobs.

    Raises:
        whatever the first failing job, or `check`, raised; no ExceptionGroup.
    """
    failures: list[Exception] = []
    left = len(jobs)
    if not jobs:
        return
    async with anyio.create_task_group() as group:

        def stop() -> None:
            group.cancel_scope.cancel()

        async def run(job: Job) -> None:
            nonlocal left
            try:
                await job()
            except Exception as error:
                failures.append(error)
                stop()
            left -= 1
            if left == 0:
                stop()

        async def watch(look: Callable[[], None]) -> None:
            while True:
                try:
                    look()
                except Exception as error:
                    failures.append(error)
                    stop()
                await anyio.sleep(_GLANCE)

        if check is not None:
            group.start_soon(watch, check)
        for job in jobs:
            group.start_soon(run, job)
    if failures:
        raise failures[0]
