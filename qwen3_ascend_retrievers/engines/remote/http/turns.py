"""Whose request goes next, and which call starts: fair turns in one event loop.

A caller with a hundred requests waits with one of them in the row, like a caller with a single one.
So a short ranking passes the rest of a long one, and a waiting request costs one future.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from contextlib import suppress
from typing import Final

# A call takes about half a millisecond until its first request is on its way.
_STARTS_AT_ONCE: Final = 8


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


class Starts:
    """Lets a few calls start in each round of the event loop, which reads replies between them.

    A thousand calls that come at once would keep it busy for so long that replies under way would
    count as too late.
    """

    def __init__(self) -> None:
        self._left = _STARTS_AT_ONCE
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_round_open = False

    async def take(self) -> None:
        """Wait until one more call may start."""
        loop = asyncio.get_running_loop()
        if not self._is_round_open:
            self._is_round_open = True
            loop.call_soon(self._next_round, loop)
        if self._left > 0:
            self._left -= 1
            return
        start: asyncio.Future[None] = loop.create_future()
        self._waiting.append(start)
        await start

    def _next_round(self, loop: asyncio.AbstractEventLoop) -> None:
        self._left = _STARTS_AT_ONCE
        while self._waiting and self._left > 0:
            start = self._waiting.popleft()
            if not start.done():
                start.set_result(None)
                self._left -= 1
        self._is_round_open = self._left < _STARTS_AT_ONCE
        if self._is_round_open:
            loop.call_soon(self._next_round, loop)
