"""One event loop in one thread, in which an engine lives: loaded once, ended once.

Callers from any thread and any loop hand coroutines over and wait. Nothing here knows vLLM.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from importlib import import_module
from typing import Any, Generic, TypeVar

from ..._util.locks import Lock
from ...errors import EngineError
from ..waiting import Callers, closed_error, wait, wait_async

Loaded = TypeVar("Loaded")
Result = TypeVar("Result")
_JOIN_SECONDS = 30.0


class Host(Generic[Loaded]):
    """Keeps what `load` makes in a loop of its own.

    Args:
        load: awaited in the loop at first use, and again after it failed; may block the loop.
        unload: called in the loop with what was loaded, when the host is stopped.
        interrupt: called again and again from the stopping thread while `load` still runs.
    """

    def __init__(
        self,
        load: Callable[[], Awaitable[Loaded]],
        unload: Callable[[Loaded], None],
        interrupt: Callable[[], None],
    ) -> None:
        self._load, self._unload, self._interrupt = load, unload, interrupt
        self._lock = Lock()
        self._callers = Callers()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._closed = False
        self._loading: asyncio.Lock | None = None
        self._busy = threading.Event()
        self._loaded: Loaded | None = None

    @property
    def loaded(self) -> Loaded | None:
        """What was loaded; None before and after."""
        return self._loaded

    def run(self, work: Callable[[Loaded], Coroutine[Any, Any, Result]]) -> Result:
        """The result of `work`, waiting in this thread; interrupting the wait cancels it."""
        return wait(self._submit(work))

    async def arun(self, work: Callable[[Loaded], Coroutine[Any, Any, Result]]) -> Result:
        """The same without blocking the caller's loop; cancelling the task cancels the work."""
        return await wait_async(self._submit(work))

    def stop(self) -> None:
        """Cancel what runs, unload, end the thread. Safe to call twice, and at exit.

        Whoever waits learns of it at once; unloading may take longer.
        """
        with self._lock:
            thread, loop, self._closed = self._thread, self._loop, True
            self._thread = None
        atexit.unregister(self.stop)
        # After a fork all of it is the parent's.
        if thread is None or loop is None or self._pid != os.getpid():
            return
        self._callers.dismiss()
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(loop.stop)
        if thread is threading.current_thread():
            return
        while self._busy.is_set() and thread.is_alive():
            self._interrupt()
            thread.join(0.2)
        thread.join(_JOIN_SECONDS)

    def _submit(self, work: Callable[[Loaded], Coroutine[Any, Any, Result]]) -> Future[Result]:
        with self._lock:
            if self._closed:
                raise closed_error()
            if self._loop is None:
                self._start()
            if self._pid != os.getpid():
                raise EngineError(
                    "This engine was used before the process forked; its worker processes belong "
                    "to the parent. Make the engine in the child, or start children with 'spawn'."
                )
            assert self._loop is not None
            running = asyncio.run_coroutine_threadsafe(self._work(work), self._loop)
            return self._callers.promise(running)

    def _start(self) -> None:
        self._loop, self._pid = asyncio.new_event_loop(), os.getpid()
        self._thread = threading.Thread(
            target=self._serve, args=(self._loop,), name="qwen3-rerank-vllm", daemon=True
        )
        self._thread.start()
        # Exit functions run last in, first out. Multiprocessing's, which waits for vLLM's
        # processes, is registered by this import, and so runs after ours.
        import_module("multiprocessing.util")
        atexit.register(self.stop)

    async def _work(self, work: Callable[[Loaded], Coroutine[Any, Any, Result]]) -> Result:
        return await work(await self._ready())

    async def _ready(self) -> Loaded:
        if self._loading is None:
            self._loading = asyncio.Lock()
        async with self._loading:
            if self._closed:
                raise closed_error()
            if self._loaded is None:
                self._busy.set()
                try:
                    self._loaded = await self._load()
                finally:
                    self._busy.clear()
            return self._loaded

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            loop.run_until_complete(self._finish())
        finally:
            asyncio.set_event_loop(None)
            loop.close()
            # Cycles of what was loaded would live until the interpreter ends and its modules are
            # gone, which their destructors need.
            gc.collect()

    async def _finish(self) -> None:
        mine = asyncio.current_task()
        tasks = {task for task in asyncio.all_tasks() if task is not mine}
        # vLLM's own tasks are ended by its shutdown, which must find them.
        for task in tasks:
            if getattr(task.get_coro(), "__qualname__", "").startswith("Host."):
                task.cancel()
        await asyncio.sleep(0)
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            self._unload(loaded)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
