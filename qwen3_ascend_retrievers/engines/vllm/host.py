"""What keeps a loaded model in a loop of its own: loaded once, unloaded once. No vLLM in it."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable, Coroutine
from importlib import import_module
from typing import Any, Generic, TypeVar

from ..loop_thread import LoopThread, end_tasks, other_tasks
from ..waiting import closed_error

Loaded = TypeVar("Loaded")
Result = TypeVar("Result")
Use = Callable[[Loaded], Coroutine[Any, Any, Result]]


class ModelHost(Generic[Loaded]):
    """Keeps what `load` makes, and runs what uses it.

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
        self._loading: asyncio.Lock | None = None
        self._busy = threading.Event()
        self._loaded: Loaded | None = None
        # Exit functions run last in, first out. Multiprocessing's, which waits for vLLM's
        # processes, is registered by this import, and so runs after ours.
        import_module("multiprocessing.util")
        self._thread = LoopThread(
            "qwen3-rerank-vllm",
            self._finish,
            join_seconds=30.0,
            stops_at_exit=True,
            interrupt=self._interrupt_loading,
            # Cycles of what was loaded would live until the interpreter ends and its modules are
            # gone, which their destructors need.
            collect=gc.collect,
        )

    @property
    def loaded(self) -> Loaded | None:
        """What was loaded; None before and after."""
        return self._loaded

    def run(self, use: Use[Loaded, Result]) -> Result:
        """The result of `use`, waiting in this thread; interrupting the wait cancels it."""
        return self._thread.run(self._use(use))

    async def arun(self, use: Use[Loaded, Result]) -> Result:
        """The same without blocking the caller's loop; cancelling the task cancels the work."""
        return await self._thread.arun(self._use(use))

    def stop(self) -> None:
        """Cancel what runs, unload, end the thread. Safe to call twice, and at exit."""
        self._thread.stop()

    async def _use(self, use: Use[Loaded, Result]) -> Result:
        return await use(await self._ready())

    async def _ready(self) -> Loaded:
        if self._loading is None:
            self._loading = asyncio.Lock()
        async with self._loading:
            if self._thread.closed:
                raise closed_error()
            if self._loaded is None:
                self._busy.set()
                try:
                    self._loaded = await self._load()
                finally:
                    self._busy.clear()
            return self._loaded

    def _interrupt_loading(self) -> bool:
        if not self._busy.is_set():
            return False
        self._interrupt()
        return True

    async def _finish(self) -> None:
        tasks = other_tasks()
        # vLLM's own tasks are ended by its shutdown, which must find them.
        for task in tasks:
            if getattr(task.get_coro(), "__qualname__", "").startswith(f"{ModelHost.__name__}."):
                task.cancel()
        await asyncio.sleep(0)
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            self._unload(loaded)
        await end_tasks(tasks)
