"""Batches that several workers take from, and give back when they are lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Final

from ...errors import EngineError
from .batches import RowBatch

# A batch that kills whoever scores it must not do so for ever.
_MOST_LOSSES: Final = 5


class WorkerLostError(EngineError):
    """A worker's machine is gone; another worker can do the same."""


class BatchQueue:
    """Hands out each batch once, or again if it was given back.

    Args:
        batches: read as they are taken.

    Attributes:
        all_done: set when nothing is left and nothing under way.
    """

    def __init__(self, batches: Iterator[RowBatch]) -> None:
        self._batches = batches
        self._returned: list[RowBatch] = []
        self._losses: Counter[int] = Counter()
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

    async def __anext__(self) -> RowBatch:
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

    def give_back(self, batch: RowBatch, error: WorkerLostError) -> None:
        """One that was taken is not finished, and will not be where it was taken.

        Raises:
            WorkerLostError: `error`, if that happened to the same batch before, again and again.
        """
        self._losses[batch.number] += 1
        if self._losses[batch.number] == _MOST_LOSSES:
            raise WorkerLostError(
                f"Batch {batch.number} has ended {_MOST_LOSSES} workers, the last one so: {error}. "
                "Is the memory of an actor enough for it? A smaller batch needs less."
            ) from error
        self._returned.append(batch)
        self._under_way -= 1
        self._wake_all()

    def _wake_all(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
