"""Engines that do not do what an engine does: one that waits for ever, one that is nobody's."""

from __future__ import annotations

import asyncio
from typing import Any

from qwen3_ascend_retrievers.core.plan import Plan
from qwen3_ascend_retrievers.core.ranking import Score
from qwen3_ascend_retrievers.engines.base import Call
from qwen3_ascend_retrievers.testing import FakeEngine


class StuckEngine(FakeEngine):
    """Waits for ever, asynchronously."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = asyncio.Event()

    async def ascore(self, plan: Plan, call: Call) -> list[Score]:
        self.waiting.set()
        await asyncio.Event().wait()
        raise AssertionError("never")


# Everything an engine needs, but not of this package.
Foreign: Any = type(
    "Foreign", (), {name: value for name, value in vars(FakeEngine).items() if callable(value)}
)
