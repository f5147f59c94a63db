"""Decisions that need something from outside, as generators.

A `Steps` generator yields what it wants to know and is sent the answer; it does no I/O itself, so
the sync and the async caller share every decision and differ only in how they fetch answers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import TypeVar, cast

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")
Result = TypeVar("Result")
Steps = Generator[Ask, Answer, Result]


def drive(steps: Steps[Ask, Answer, Result], answer: Callable[[Ask], Answer]) -> Result:
    """Run `steps` to its result, asking `answer`; what `answer` raises is raised in `steps`."""
    try:
        asked = next(steps)
        while True:
            try:
                reply = answer(asked)
            except BaseException as error:
                asked = steps.throw(error)
            else:
                asked = steps.send(reply)
    except StopIteration as done:
        return cast(Result, done.value)


async def adrive(
    steps: Steps[Ask, Answer, Result], answer: Callable[[Ask], Awaitable[Answer]]
) -> Result:
    """The same as `drive`, awaiting each answer."""
    try:
        asked = next(steps)
        while True:
            try:
                reply = await answer(asked)
            except BaseException as error:
                asked = steps.throw(error)
            else:
                asked = steps.send(reply)
    except StopIteration as done:
        return cast(Result, done.value)
