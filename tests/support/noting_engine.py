"""The bundled model, which leaves a file where it is at work: what an actor held when it died."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from qwen3_ascend_retrievers import LocalEngine
from qwen3_ascend_retrievers.core.plan import Plan
from qwen3_ascend_retrievers.core.ranking import PassageScore
from qwen3_ascend_retrievers.engines.base import Call


class NotingEngine(LocalEngine):
    """Writes a file named after its Ray node while it scores.

    Args:
        folder: for the files.
        seconds: that each call takes at least.
    """

    def __init__(self, folder: Path, seconds: float = 0.1) -> None:
        super().__init__("tiny")
        self._folder = folder
        self._seconds = seconds

    async def ascore(self, plan: Plan, call: Call) -> Sequence[PassageScore]:
        import asyncio

        import ray

        started = time.monotonic()
        node = ray.get_runtime_context().get_node_id()
        note = self._folder / f"{node}.{uuid4().hex}"
        note.touch()
        scores = await super().ascore(plan, call)
        await asyncio.sleep(max(0, started + self._seconds - time.monotonic()))
        note.unlink()
        return scores


def nodes_at_work(folder: Path) -> set[str]:
    """The nodes whose engines are scoring, or were when they died."""
    return {path.name.partition(".")[0] for path in folder.iterdir()}
