"""The queue of calls: vLLM gets a few steps' work at a time, and every call a small portion of it.

vLLM works through its requests in the order in which they came, so a call that sends all of its
documents at once makes every later call wait for the last of them. Nothing here knows vLLM.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from ...core.batching import portions

# How many of vLLM's steps are running or ready for it. Fewer leave it idle between two of them,
# more make a new call wait longer: tests/benchmarks/vllm_callers.py measures both.
_STEPS_AHEAD: Final = 4
# Passages of a turn: neighbours, which share the query's part in the prefix cache.
_PORTION_PASSAGES: Final = 16


class SubmissionQueue:
    """Room for requests, in one event loop; calls that wait get it in order of arrival.

    A call asks for room for its next portion only once it has room for the one before, so that
    this order lets the calls take turns.

    Args:
        tokens: of one of vLLM's steps.
        prompts: of one of vLLM's steps.
        block: tokens of a block of the prefix cache; None if it is off.
    """

    def __init__(self, tokens: int, prompts: int, block: int | None) -> None:
        self._block = block
        self._room = _STEPS_AHEAD * tokens
        # A step is full with so many prompts, however short they are.
        self._min_weight = -(-tokens // prompts)
        self._used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def weight(self, query: int, passage: int) -> int:
        """How much room a prompt takes: the tokens that vLLM computes for it.

        Args:
            query: tokens of the part that it shares with its neighbours, of which the cache holds
                whole blocks only.
            passage: tokens of the rest.
        """
        computed = passage + (query if self._block is None else min(query, self._block))
        return max(computed, self._min_weight)

    def portions(self, weights: Iterable[int]) -> Iterator[list[int]]:
        """Positions of a call's passages, in their order, in portions for one turn each."""
        return portions(
            weights, max_count=_PORTION_PASSAGES, max_tokens=self._room // _PORTION_PASSAGES
        )

    async def acquire(self, weight: int) -> None:
        """Wait for so much room, and take it."""
        if not self._waiting and self._fits(weight):
            self._used += weight
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((weight, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._admit()
            else:
                self.release(weight)
            raise

    def release(self, weight: int) -> None:
        """Give so much room back."""
        self._used -= weight
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            weight, turn = self._waiting[0]
            if not turn.cancelled():
                if not self._fits(weight):
                    return
                self._used += weight
                turn.set_result(None)
            self._waiting.popleft()

    def _fits(self, weight: int) -> bool:
        # What exceeds the whole room goes alone.
        return self._used == 0 or self._used + weight <= self._room
