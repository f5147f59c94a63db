"""Decisions that need something from outside, as generators.

A `Steps` generator yields a frozen question and is sent the answer; it does no I/O itself, so the
sync and the async caller share every decision and differ only in how they fetch answers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar, cast

from .tokens import Encoding

QuestionT = TypeVar("QuestionT")
AnswerT = TypeVar("AnswerT")
Result = TypeVar("Result")
Steps = Generator[QuestionT, AnswerT, Result]


@dataclass(frozen=True, slots=True)
class NeedTokens:
    """What are the tokens of these prompt parts? Answered with one Encoding for each, in order."""

    texts: list[str]


TokenSteps = Steps[NeedTokens, Sequence[Encoding], Result]


def drive(
    steps: Steps[QuestionT, AnswerT, Result], answer: Callable[[QuestionT], AnswerT]
) -> Result:
    """Run `steps` to its result, asking `answer`; what `answer` raises is raised in `steps`."""
    try:
        question = next(steps)
        while True:
            try:
                reply = answer(question)
            except BaseException as error:
                question = steps.throw(error)
            else:
                question = steps.send(reply)
    except StopIteration as end:
        return cast(Result, end.value)
    finally:
        # An interrupt between two questions is not raised in them, and its traceback keeps them.
        steps.close()


async def adrive(
    steps: Steps[QuestionT, AnswerT, Result], answer: Callable[[QuestionT], Awaitable[AnswerT]]
) -> Result:
    """The same as `drive`, awaiting each answer."""
    try:
        question = next(steps)
        while True:
            try:
                reply = await answer(question)
            except BaseException as error:
                question = steps.throw(error)
            else:
                question = steps.send(reply)
    except StopIteration as end:
        return cast(Result, end.value)
    finally:
        # An interrupt between two questions is not raised in them, and its traceback keeps them.
        steps.close()


def drive_tokens(
    steps: TokenSteps[Result], encode: Callable[[list[str]], Sequence[Encoding]]
) -> Result:
    """Run `steps`, which need nothing but tokens, to its result."""
    return drive(steps, lambda question: encode(question.texts))


def side_by_side(
    generators: Sequence[TokenSteps[Result]], at_once: int
) -> TokenSteps[list[Result]]:
    """The results of `generators`; what `at_once` of them need goes into one question."""
    results: list[Result] = []
    for begin in range(0, len(generators), at_once):
        results += yield from _in_step(generators[begin : begin + at_once])
    return results


def _in_step(generators: Sequence[TokenSteps[Result]]) -> TokenSteps[list[Result]]:
    results: dict[int, Result] = {}
    answers: dict[int, Sequence[Encoding] | None] = dict.fromkeys(range(len(generators)))
    while True:
        questions: dict[int, NeedTokens] = {}
        for at, answer in answers.items():
            try:
                steps = generators[at]
                questions[at] = next(steps) if answer is None else steps.send(answer)
            except StopIteration as end:
                results[at] = end.value
        if not questions:
            return [results[at] for at in range(len(generators))]
        texts = [text for question in questions.values() for text in question.texts]
        encodings = iter((yield NeedTokens(texts)))
        answers = {
            at: list(islice(encodings, len(question.texts))) for at, question in questions.items()
        }
