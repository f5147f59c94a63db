"""One event loop in one thread, where the engine's client and connections live.

Callers from any thread and any loop hand their coroutine over and wait for the result. So one
pool serves everybody, nothing is bound to a loop that ends, and a sync call can be stopped at
once. Nothing here knows HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from ..._util.locks import Lock
from ..waiting import Callers, closed_error, wait, wait_async

Result = TypeVar("Result")
Work = Coroutine[Any, Any, Result]
THREAD_NAME: Final = "qwen3-rerank-http"
_JOIN_SECONDS: Final = 5.0


class LoopThread:
    """A running loop; starts with the first call and again after a fork.

    Args:
        on_stop: awaited in the loop when it is stopped, to close what lives there.
    """

    def __init__(self, on_stop: Callable[[], Awaitable[None]]) -> None:
        self._on_stop = on_stop
        self._lock = Lock()
        self._callers = Callers()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._closed = False

    def submit(self, work: Work[Result]) -> Future[Result]:
        """Run `work` in the loop, in the caller's context.

        Raises:
            EngineClosedError: the portal was stopped.
        """
        with self._lock:
            if self._closed:
                work.close()
                raise closed_error()
            running = asyncio.run_coroutine_threadsafe(work, self._running())
            return self._callers.promise(running)

    def run(self, work: Work[Result]) -> Result:
        """`work`'s result, waiting in this thread; interrupting the wait cancels the work."""
        return wait(self.submit(work))

    async def arun(self, work: Work[Result]) -> Result:
        """`work`'s result, without blocking this loop; cancelling the task cancels the work."""
        return await wait_async(self.submit(work))

    async def arun_here(self, work: Work[Result]) -> Result:
        """The same in the caller's own loop, where the client lives that `work` uses."""
        with self._lock:
            if self._closed:
                work.close()
                raise closed_error()
            running = asyncio.run_coroutine_threadsafe(work, asyncio.get_running_loop())
            promise = self._callers.promise(running)
        return await wait_async(promise)

    def stop(self) -> None:
        """End what runs, say farewell, end the thread. Safe to call twice."""
        with self._lock:
            loop, thread, self._closed = self._loop, self._thread, True
            self._loop = self._thread = None
        self._callers.dismiss()
        if loop is None or thread is None or self._pid != os.getpid():
            return
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(loop.stop)
        # The garbage collector may call this from the loop's own thread.
        if thread is not threading.current_thread():
            thread.join(_JOIN_SECONDS)

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None or self._pid != os.getpid():
            loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=_serve, args=(loop, self._on_stop), name=THREAD_NAME, daemon=True
            )
            self._loop, self._pid = loop, os.getpid()
            self._thread.start()
        return self._loop


def _serve(loop: asyncio.AbstractEventLoop, on_stop: Callable[[], Awaitable[None]]) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(_finish(tasks, on_stop))
    finally:
        asyncio.set_event_loop(None)
        loop.close()


async def _finish(tasks: set[asyncio.Task[Any]], on_stop: Callable[[], Awaitable[None]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
    await on_stop()
    await asyncio.get_running_loop().shutdown_default_executor()
