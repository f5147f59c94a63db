"""Decisions that need something from outside, as generators.

A `Steps` generator yields what it wants to know and is sent the answer; it does no I/O itself, so
the sync and the async caller share every decision and differ only in how they fetch answers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from itertools import islice
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


def together(
    many: Sequence[Steps[list[Ask], Sequence[Answer], Result]], at_once: int
) -> Steps[list[Ask], list[Answer], list[Result]]:
    """The results of `many`, run side by side: what `at_once` of them ask goes into one list."""
    results: list[Result] = []
    for begin in range(0, len(many), at_once):
        results += yield from _side_by_side(many[begin : begin + at_once])
    return results


def _side_by_side(
    many: Sequence[Steps[list[Ask], Sequence[Answer], Result]],
) -> Steps[list[Ask], list[Answer], list[Result]]:
    results: dict[int, Result] = {}
    answers: dict[int, Sequence[Answer] | None] = dict.fromkeys(range(len(many)))
    while True:
        asked: dict[int, list[Ask]] = {}
        for at, answer in answers.items():
            try:
                asked[at] = next(many[at]) if answer is None else many[at].send(answer)
            except StopIteration as done:
                results[at] = done.value
        if not asked:
            return [results[at] for at in range(len(many))]
        replies = iter((yield [one for asks in asked.values() for one in asks]))
        answers = {at: list(islice(replies, len(asks))) for at, asks in asked.items()}
