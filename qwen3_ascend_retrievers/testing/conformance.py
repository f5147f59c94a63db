"""Shared by both conformance suites: texts with known scores, and an engine that is watched.

No framework is imported here.
"""

from __future__ import annotations

import threading
from typing import Final

from ..core.plan import Plan
from ..core.ranking import Score
from ..engines.base import Call
from ..errors import EngineError
from .fake import FakeEngine

CONFORMANCE_QUERY: Final = "Which of the planets has rings?"

# In the retriever's order, which is neither the right order nor its reverse; two texts tie.
SCORES: Final = {
    "Mercury is the smallest planet.": 0.25,
    "Saturn has rings of ice.": 0.875,
    "Uranus has faint rings.": 0.5,
    "Neptune has faint rings.": 0.5,
    "Bread needs flour.": 0.0,
    "Jupiter has a thin ring of dust.": 0.75,
}
TEXTS: Final = tuple(SCORES)
# Positions of TEXTS, best first, ties by position.
RIGHT_ORDER: Final = (1, 5, 2, 3, 0, 4)


class WatchedEngine(FakeEngine):
    """A FakeEngine of SCORES that records the thread of each call.

    Attributes:
        threads: for each scoring call the identifier of its thread.
    """

    def __init__(self, *, fails: bool = False) -> None:
        error = EngineError("The engine was told to fail.") if fails else None
        super().__init__(SCORES, error=error)
        self.threads: list[int] = []

    def score(self, plan: Plan, call: Call) -> list[Score]:
        """The scores; records the thread."""
        self.threads.append(threading.get_ident())
        return super().score(plan, call)

    async def ascore(self, plan: Plan, call: Call) -> list[Score]:
        """The same, asynchronously."""
        self.threads.append(threading.get_ident())
        return await super().ascore(plan, call)

    def check_async(self) -> None:
        """Fail unless every call was asynchronous and came from this very thread."""
        modes = {mode for mode, _ in self.calls}
        assert modes == {"async"}, f"the engine was called in these ways: {modes or 'none'}"
        here = threading.get_ident()
        assert set(self.threads) == {here}, "the engine was called from another thread"
