"""Whose request goes next: fair turns for the callers of one server, in one event loop.

A caller with a hundred requests waits with one of them in the row, like a caller with a single one.
So a short ranking passes the rest of a long one, and a waiting request costs one future.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from contextlib import suppress


class Turns:
    """At most so many at once; the others take turns, caller by caller.

    Args:
        limit: most requests under way, at least 1.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._waiting: OrderedDict[object, deque[asyncio.Future[None]]] = OrderedDict()

    def take_free(self) -> bool:
        """Whether a turn was free and is taken now; it must be given back."""
        if self._free == 0:
            return False
        self._free -= 1
        return True

    async def wait(self, caller: object, *, first: bool = False) -> None:
        """Wait for a turn, while none is free. It must be given back.

        Args:
            caller: whose request it is, by identity.
            first: go before all who wait.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        if first:
            self._waiting.move_to_end(caller, last=False)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                # It came in the moment in which the wait was cancelled.
                self.give_back()
            else:
                self._forget(caller, turn)
            raise

    def give_back(self) -> None:
        """Let the next caller have the turn."""
        while self._waiting:
            caller, turns = self._waiting.popitem(last=False)
            turn = turns.popleft()
            if turns:
                self._waiting[caller] = turns
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _forget(self, caller: object, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(caller)
        if turns is None:
            return
        with suppress(ValueError):
            turns.remove(turn)
        if not turns:
            del self._waiting[caller]
