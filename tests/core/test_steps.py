"""Questions and answers: sync, async and side by side come to the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from qwen3_ascend_retrievers.core.steps import (
    NeedTokens,
    Steps,
    TokenSteps,
    adrive,
    drive,
    drive_tokens,
    side_by_side,
)
from qwen3_ascend_retrievers.core.tokens import Tokens

Doubling = Steps[list[int], Sequence[int], list[int]]
Run = Callable[[Doubling, Callable[[list[int]], list[int]]], Awaitable[list[int]]]


async def run_sync(steps: Doubling, answer: Callable[[list[int]], list[int]]) -> list[int]:
    return drive(steps, answer)


async def run_async(steps: Doubling, answer: Callable[[list[int]], list[int]]) -> list[int]:
    async def awaited(asked: list[int]) -> list[int]:
        return answer(asked)

    return await adrive(steps, awaited)


both = pytest.mark.parametrize("run", [run_sync, run_async])


def double(asked: list[int]) -> list[int]:
    return [2 * one for one in asked]


def doubling(times: int, start: int = 1) -> Doubling:
    """Asks `times` times for the double of what it has, and once more of it each time."""
    have = [start]
    for _ in range(times):
        have = [*(yield have), 0]
    return have


@both
async def test_answers_go_in_and_the_result_comes_out(run: Run) -> None:
    assert await run(doubling(0), double) == [1]
    assert await run(doubling(3), double) == [8, 0, 0, 0]


@both
async def test_an_error_of_the_answer_is_raised_in_the_steps(run: Run) -> None:
    def patient() -> Doubling:
        try:
            yield [1]
        except OSError:
            return list((yield [7]))
        raise AssertionError("the error must come first")

    def failing(asked: list[int]) -> list[int]:
        if asked == [1]:
            raise OSError("no answer")
        return asked

    assert await run(patient(), failing) == [7]
    with pytest.raises(OSError, match="no answer"):
        await run(doubling(1), failing)


@both
async def test_an_error_of_the_steps_comes_out(run: Run) -> None:
    def broken() -> Doubling:
        yield [1]
        raise ValueError("broken steps")

    with pytest.raises(ValueError, match="broken steps"):
        await run(broken(), double)


def token_doubling(times: int, start: int = 1) -> TokenSteps[list[int]]:
    """`doubling`, by the tokens of texts."""
    ids = [start]
    for _ in range(times):
        encodings = yield NeedTokens([str(number) for number in ids])
        ids = [*(encoding.ids[0] for encoding in encodings), 0]
    return ids


def encode(texts: list[str]) -> list[Tokens]:
    return [Tokens((2 * int(text),)) for text in texts]


@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
def test_side_by_side_comes_to_the_same_with_fewer_questions(at_once: int) -> None:
    times = [2, 0, 5, 1, 0, 3]
    questions: list[list[str]] = []

    def counted(texts: list[str]) -> list[Tokens]:
        questions.append(texts)
        return encode(texts)

    steps = [token_doubling(time, start=at) for at, time in enumerate(times)]
    alone = [drive_tokens(token_doubling(time, start=at), encode) for at, time in enumerate(times)]
    assert drive_tokens(side_by_side(steps, at_once), counted) == alone
    assert len(questions) == sum(max(times[at : at + at_once]) for at in range(0, 6, at_once))


def test_side_by_side_passes_an_error_on() -> None:
    def failing(texts: list[str]) -> list[Tokens]:
        raise OSError("no answer")

    with pytest.raises(OSError, match="no answer"):
        drive_tokens(side_by_side([token_doubling(1), token_doubling(2)], 2), failing)
    nothing: list[TokenSteps[list[int]]] = []
    assert drive_tokens(side_by_side(nothing, 2), failing) == []


@both
async def test_steps_are_ended_if_an_interrupt_comes_between_two_questions(run: Run) -> None:
    class Interrupted:
        """As if a Ctrl-C came just before the answer went in."""

        ended = False

        def __next__(self) -> list[int]:
            return [1]

        def send(self, _: object) -> list[int]:
            raise KeyboardInterrupt

        def close(self) -> None:
            self.ended = True

    steps: Any = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        await run(steps, double)
    assert steps.ended
