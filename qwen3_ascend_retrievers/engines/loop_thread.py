"""One event loop in one thread, where an engine's client, connections or model live.

Callers from any thread and any loop hand coroutines over and wait for the result. So nothing is
bound to a loop that ends, and a sync call can be stopped at once. Nothing here knows what runs.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from .._util.locks import fork_safe_lock
from ..errors import EngineError
from .waiting import Callers, closed_error, settle, wait, wait_async

Result = TypeVar("Result")
Work = Coroutine[Any, Any, Result]


def _nothing() -> bool:
    return False


class LoopThread:
    """A running loop; starts with the first call.

    Args:
        name: of the thread.
        finish: awaited in the loop when it is stopped, to end its tasks and what lives there.
        join_seconds: how long `stop` waits for that.
        restarts_after_fork: whether a forked child gets a loop of its own, else an EngineError.
        stops_at_exit: whether `stop` is called before the interpreter's own exit functions.
        interrupt: called by `stop` every 0.2 s as long as it returns True, for work that blocks
            the loop.
        collect: called in the thread after the loop is closed.
    """

    def __init__(
        self,
        name: str,
        finish: Callable[[], Awaitable[None]],
        *,
        join_seconds: float,
        restarts_after_fork: bool = False,
        stops_at_exit: bool = False,
        interrupt: Callable[[], bool] = _nothing,
        collect: Callable[[], object] = _nothing,
    ) -> None:
        self._name, self._finish, self._join_seconds = name, finish, join_seconds
        self._restarts_after_fork, self._stops_at_exit = restarts_after_fork, stops_at_exit
        self._interrupt, self._collect = interrupt, collect
        self._lock = fork_safe_lock()
        self._callers = Callers()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether it was stopped."""
        return self._closed

    def run(self, work: Work[Result]) -> Result:
        """`work`'s result, waiting in this thread; interrupting the wait cancels the work.

        Raises:
            EngineClosedError: the loop was stopped, before or meanwhile.
            EngineError: the loop is a forked process's parent's.
        """
        return wait(self._submit(work))

    async def arun(self, work: Work[Result]) -> Result:
        """`work`'s result, without blocking this loop; cancelling the task cancels the work."""
        return await wait_async(self._submit(work))

    async def arun_here(self, work: Work[Result]) -> Result:
        """The same in the caller's own loop, where the client lives that `work` uses."""
        return await wait_async(self._submit(work, asyncio.get_running_loop()))

    def stop(self) -> None:
        """End what runs, then the thread. Safe to call twice, and at exit.

        Whoever waits learns of it at once; finishing may take longer.
        """
        with self._lock:
            loop, thread, self._closed = self._loop, self._thread, True
            self._loop = self._thread = None
        if self._stops_at_exit:
            atexit.unregister(self.stop)
        self._callers.dismiss()
        # After a fork all of it is the parent's.
        if loop is None or thread is None or self._pid != os.getpid():
            return
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(loop.stop)
        # The garbage collector may call this from the loop's own thread.
        if thread is threading.current_thread():
            return
        while thread.is_alive() and self._interrupt():
            thread.join(0.2)
        thread.join(self._join_seconds)

    def _submit(
        self, work: Work[Result], loop: asyncio.AbstractEventLoop | None = None
    ) -> Future[Result]:
        running = _LoopFuture(work)
        try:
            with self._lock:
                if self._closed:
                    raise closed_error()
                running.start(loop or self._running())
                return self._callers.promise(running)
        except BaseException:
            running.cancel()
            raise

    def _running(self) -> asyncio.AbstractEventLoop:
        foreign = self._loop is not None and self._pid != os.getpid()
        if foreign and not self._restarts_after_fork:
            raise EngineError(
                "This engine was used before the process forked; its thread and its processes are "
                "the parent's. Make the engine in the child, or start children with 'spawn'."
            )
        if self._loop is None or foreign:
            loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._serve, args=(loop,), name=self._name, daemon=True
            )
            self._loop, self._pid = loop, os.getpid()
            self._thread.start()
            if self._stops_at_exit:
                atexit.register(self.stop)
        return self._loop

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            loop.run_until_complete(self._finish())
        finally:
            asyncio.set_event_loop(None)
            loop.close()
            self._collect()


class _LoopFuture(Future[Result]):
    """`work`'s outcome in a loop; cancelling it cancels the work, or closes it if not begun.

    asyncio.run_coroutine_threadsafe without its reference cycle: that leaves the task to the
    garbage collector, which may run in the main thread. There a Ctrl-C during the collection is
    raised in the callback of asyncio's own weak reference to the task, and Python drops it.
    """

    def __init__(self, work: Work[Result]) -> None:
        super().__init__()
        self._work = work
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Result] | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin the work in `loop`, from any thread."""
        self._loop = loop
        loop.call_soon_threadsafe(self._create_task, loop)

    def cancel(self) -> bool:
        if not super().cancel():
            return False
        if self._loop is None:
            self._work.close()
            return True
        try:
            self._loop.call_soon_threadsafe(self._cancel_task)
        except RuntimeError:
            # The loop is closed.
            self._work.close()
        return True

    def _create_task(self, loop: asyncio.AbstractEventLoop) -> None:
        self._task = loop.create_task(self._work)
        self._task.add_done_callback(self._end)
        if self.cancelled():
            self._task.cancel()

    def _cancel_task(self) -> None:
        if self._task is None:
            self._work.close()
        else:
            self._task.cancel()

    def _end(self, task: asyncio.Task[Result]) -> None:
        self._task = None
        settle(self, task)


async def end_tasks(tasks: set[asyncio.Task[Any]] | None = None) -> None:
    """Cancel these tasks, or all of the running loop but the caller's, and wait for their ends."""
    tasks = other_tasks() if tasks is None else tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def other_tasks() -> set[asyncio.Task[Any]]:
    """All tasks of the running loop but the caller's."""
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}
