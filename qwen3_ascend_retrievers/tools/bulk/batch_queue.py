"""Batches that several workers take from, and give back when they are lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from ...errors import EngineError
from .batches import Batch


class WorkerLostError(EngineError):
    """A worker's machine is gone; another worker can do the same."""


class BatchQueue:
    """Hands out each batch once, or again if it was given back.

    Args:
        batches: read as they are taken.

    Attributes:
        all_done: set when nothing is left and nothing under way.
    """

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches
        self._returned: list[Batch] = []
        self._under_way = 0
        self._changed = asyncio.Event()
        self.all_done = asyncio.Event()

    def is_empty(self) -> bool:
        """Whether there is nothing to take."""
        if not self._returned and (batch := next(self._batches, None)) is not None:
            self._returned.append(batch)
        return not self._returned

    def __aiter__(self) -> BatchQueue:
        return self

    async def __anext__(self) -> Batch:
        # What is under way elsewhere may come back.
        while self.is_empty():
            if not self._under_way:
                self.all_done.set()
                raise StopAsyncIteration
            await self._changed.wait()
        self._under_way += 1
        return self._returned.pop()

    def task_done(self) -> None:
        """One that was taken is finished."""
        self._under_way -= 1
        self._wake_all()

    def give_back(self, batch: Batch) -> None:
        """One that was taken is not finished, and will not be where it was taken."""
        self._returned.append(batch)
        self._under_way -= 1
        self._wake_all()

    def _wake_all(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
