"""The sync and the async way to call a Reranker, and engines without a model for its tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.core.plan import Counting, Plan
from qwen3_ascend_retrievers.core.ranking import Score
from qwen3_ascend_retrievers.core.results import Ranking
from qwen3_ascend_retrievers.engines.base import Call
from qwen3_ascend_retrievers.testing import FakeEngine
from support.qwen_tokenizer import encode

Rank = Callable[..., Awaitable[Ranking]]
ScoreAll = Callable[..., Awaitable[list[float]]]
LONG = "Dogs bark. " * 100 + "The cat sleeps. " + "Birds sing. " * 100


async def _rank(reranker: Reranker, *args: Any, **named: Any) -> Ranking:
    return reranker.rank(*args, **named)


async def _arank(reranker: Reranker, *args: Any, **named: Any) -> Ranking:
    return await reranker.arank(*args, **named)


async def _score(reranker: Reranker, *args: Any, **named: Any) -> list[float]:
    return reranker.score(*args, **named)


async def _ascore(reranker: Reranker, *args: Any, **named: Any) -> list[float]:
    return await reranker.ascore(*args, **named)


# One test body each for sync and async.
rankings = pytest.mark.parametrize("rank", [_rank, _arank], ids=["rank", "arank"])
scorings = pytest.mark.parametrize("score", [_score, _ascore], ids=["score", "ascore"])


class CountingEngine(FakeEngine):
    """A fake engine that counts with Qwen3's tokenizer, and keeps the plans that it scored."""

    def __init__(self, max_length: int | None = None, counting: Counting = "always") -> None:
        super().__init__(max_length=max_length)
        self._facts = replace(self._facts, counting=counting)
        self.plans: list[Plan] = []

    def encode(self, texts: Sequence[str]) -> Any:
        assert self._facts.counting != "never"
        return encode(texts)

    async def aencode(self, texts: Sequence[str]) -> Any:
        return self.encode(texts)

    def _score(self, how: str, plan: Plan, call: Call) -> list[Score]:
        self.plans.append(plan)
        return super()._score(how, plan, call)


class FunctionEngine(FakeEngine):
    """A fake engine that scores with a test's function."""

    def __init__(self, answer: Callable[[Plan, Call], Any]) -> None:
        super().__init__()
        self._answer = answer

    def _score(self, how: str, plan: Plan, call: Call) -> Any:
        return self._answer(plan, call)


def order(ranking: Ranking) -> list[int]:
    """The indices of the documents, best first."""
    return [result.index for result in ranking.results]
