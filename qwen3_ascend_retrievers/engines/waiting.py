"""Waiting for work that runs in an engine's own event loop, from any thread and any other loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import TypeVar

from ..errors import EngineClosedError

Result = TypeVar("Result")


def closed_error() -> EngineClosedError:
    """What a caller gets whose engine ended before or during the call."""
    return EngineClosedError("The engine was closed. Make a new one.")


def wait(future: Future[Result]) -> Result:
    """The result, waiting in this thread; interrupting the wait cancels the work.

    Raises:
        EngineClosedError: the engine's loop ended first.
    """
    try:
        return future.result()
    except CancelledError as error:
        raise closed_error() from error
    except BaseException:
        future.cancel()
        raise


async def wait_async(future: Future[Result], is_closed: Callable[[], bool]) -> Result:
    """The result, without blocking the caller's loop; cancelling the task cancels the work.

    Args:
        is_closed: whether the engine was closed, asked when the future turns out cancelled.

    Raises:
        EngineClosedError: the engine's loop ended first.
    """
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError as error:
        # A cancelled caller has a future that it cancelled itself.
        if is_closed() and not _is_cancelling():
            raise closed_error() from error
        raise


def _is_cancelling() -> bool:
    task = asyncio.current_task()
    # Python 3.10 cannot tell; there a closed engine looks like a cancelled task.
    return bool(getattr(task, "cancelling", lambda: 1)())
