"""The numeric self-check: does a loaded engine compute the same with and without its caches?

Prefix caching and chunked prefill have given silently wrong scores on some platforms (vllm-ascend
#7145). A short pair exercises neither: whole blocks must be shared, and a prompt must not fit into
one step of the engine. Nothing here knows vLLM; prompts go out through a function.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final, Literal, TypeVar

from ...core.agreement import Agreement
from ...core.prompt import DEFAULT_INSTRUCTION, document_part, query_part
from ...core.tokens import Tokenizer
from ...errors import EngineError, ModelError

logger = logging.getLogger(__name__)

Ids = tuple[int, ...]
Value = TypeVar("Value")
Outcome = Literal["passed", "not exercised"]

_BLOCKS: Final = 3
# Tokens of an ordinary query part.
_ORDINARY: Final = 80
# What is asked stands at the start only, so that an answer without the start is another one.
_QUESTION: Final = "Which town is the capital of the country? "
_MORE: Final = "Say also what else is known about it. "
_DOCUMENTS: Final = (
    "The capital of China is Beijing.",
    "Put the egg into boiling water for eight minutes, then cool it under cold water.",
)
# DESIGN, rule 1: what two right computations in 16 bits may differ by, as a share of the range.
_SHARE: Final = 0.02
# Two runs in 16 bits may give probabilities 0.05 apart, which is four times that in a logit near 0.
_LOUDEST: Final = 0.2


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids, and the part of the prefix cache that they may share: one for each salt."""

    ids: Ids
    salt: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The logit of a prompt, and how many of its tokens came from the prefix cache."""

    logit: float
    cached: int


Ask = Callable[[Sequence[Prompt]], Awaitable[Sequence[Answer]]]


@dataclass(frozen=True, slots=True)
class Sizes:
    """What decides how long prompts must be.

    Attributes:
        block: tokens of a block of the prefix cache; None if it is off.
        step: tokens that the engine computes in one step; None if it splits no prompt.
        prompts: how many different prompts may share a step.
        length: tokens of the longest prompt.
        half: whether the model computes in 16 bits.
    """

    block: int | None
    step: int | None
    prompts: int
    length: int
    half: bool


async def self_check(ask: Ask, tokenizer: Tokenizer, sizes: Sizes) -> Outcome:
    """Compare logits without the caches' help with logits with it.

    Args:
        ask: sends prompts at the same time and gives their answers in order.
        tokenizer: the model's.
        sizes: the engine's.

    Returns:
        "not exercised" where the cache was never hit, or a prompt may take two steps and none could
        be made to; the log says which.

    Raises:
        EngineError: they differ; the message says which setting to change.
        ModelError: the model computes no number, whatever the caches do.
    """
    check = _Check(ask, tokenizer, sizes)
    await check.plain()
    parts = {"the prefix cache": await check.prefix(), "chunked prefill": await check.chunks()}
    missed = [name for name, compared in parts.items() if not compared]
    if missed:
        logger.warning("The self-check did not exercise %s.", " and ".join(missed))
        return "not exercised"
    return "passed"


class _Check:
    def __init__(self, ask: Ask, tokenizer: Tokenizer, sizes: Sizes) -> None:
        self._ask, self._tokenizer, self._sizes = ask, tokenizer, sizes
        self._salts = (f"self-check-{number}" for number in count())
        self._noise = 0.0

    async def plain(self) -> None:
        """Raise if an ordinary prompt has no logit, which no cache can be the cause of."""
        query = self._query(_ORDINARY)
        for document in self._documents():
            await self._alone((query + document)[: self._sizes.length])

    async def prefix(self) -> bool:
        """Whether the cache was hit, with the right logits; raises if they were wrong."""
        if self._sizes.block is None:
            return False
        query = self._query(_BLOCKS * self._sizes.block + 1)
        whole = [query + one for one in self._documents()]
        if max(map(len, whole)) > self._sizes.length:
            return False
        mutants = [query + one for one in self._documents(-1)]
        exact = [await self._alone(ids) for ids in whole]
        await self._measure_noise(whole, exact)
        shared = next(self._salts)
        await self._ask([Prompt(whole[0], shared)])
        hits = [(await self._ask([Prompt(ids, shared)]))[0] for ids in whole]
        if not all(hit.cached > 0 for hit in hits):
            return False
        known = [await self._alone(ids) for ids in mutants]
        self._compare(exact, known, [hit.logit for hit in hits], "prefix_caching=False")
        return True

    async def _measure_noise(self, prompts: list[Ids], alone: list[float]) -> None:
        """How far a prompt's logit moves in company, as far as that may be noise."""
        if self._sizes.step is not None and sum(map(len, prompts)) > self._sizes.step:
            return  # One of them would be split, which is not known to be right yet.
        again = await self._ask([Prompt(ids, next(self._salts)) for ids in prompts])
        apart = max(abs(one - other.logit) for one, other in zip(alone, again, strict=True))
        self._noise = min(apart, max(_LOUDEST, _SHARE * max(map(abs, alone))))

    async def chunks(self) -> bool:
        """Whether a prompt that took two steps was right, or none can; raises if it was wrong."""
        step = self._sizes.step
        if step is None or step >= self._sizes.prompts * self._sizes.length:
            return True
        return await self._long(step) or await self._crowded(step)

    async def _long(self, step: int) -> bool:
        """The same where the query part fills a step, against its start from the prefix cache."""
        parts, changed = self._documents(), self._documents(-1)
        longest = max(map(len, parts))
        block = self._sizes.block
        start = 0 if block is None else (step - 1) // block * block
        if start < longest or step + longest > self._sizes.length:
            return False
        query, kept = self._query(step), next(self._salts)
        # All of it in one step each, so that the reference depends on what was tested alone.
        await self._ask([Prompt(query[:start], kept)])
        exact, mutants = [
            [(await self._ask([Prompt(query + one, kept)]))[0] for one in kind]
            for kind in (parts, changed)
        ]
        if not all(one.cached for one in exact):
            return False
        split = [await self._alone(query + one) for one in parts]
        known = [one.logit for one in exact], [one.logit for one in mutants]
        self._compare(*known, split, self._without_chunks())
        return True

    async def _crowded(self, step: int) -> bool:
        """The same for prompts that fit into a step, and not all of them into one.

        `whole` of them fit, and about a half of the next: the engine splits that one. So many are
        sent that this happens even if two steps start before all have arrived.
        """
        most, prompts = self._sizes.length, self._sizes.prompts
        whole = min(max(1, -((most - 2 * step) // (2 * most))), prompts - 1)
        length = min(most, -(-2 * step // (2 * whole + 1)))
        fitting, changed = self._of_length(length), self._of_length(length, -1)
        if whole < 1 or not fitting:
            return False
        exact, mutants = [[await self._alone(ids) for ids in kind] for kind in (fitting, changed)]
        many = 3 * whole + 1
        sent = [Prompt(ids, next(self._salts)) for ids in _repeated(fitting, many)]
        got = [one.logit for one in await self._ask(sent)]
        known = _repeated(exact, many), _repeated(mutants, many)
        self._compare(*known, got, self._without_chunks())
        return True

    def _without_chunks(self) -> str:
        tokens = max(self._sizes.step or 0, self._sizes.length)
        return f"vllm_args={{'enable_chunked_prefill': False, 'max_num_batched_tokens': {tokens}}}"

    def _compare(
        self, exact: list[float], mutant: list[float], got: list[float], advice: str
    ) -> None:
        if self._sizes.half:
            self._noise = max(self._noise, _SHARE / 3 * (max(exact) - min(exact)))
        agreement = Agreement(tuple(exact), tuple(mutant), self._noise)
        if not agreement.holds(got, logits=True):
            pairs = zip(exact, got, strict=True)
            one, other = max(pairs, key=lambda pair: abs(pair[0] - pair[1]))
            raise EngineError(
                f"The self-check failed: for the same prompt this engine computes the logit "
                f"{one:.4f} and, by another way, {other:.4f}, so its scores cannot be believed and "
                f"it refuses to serve. Use VLLMEngine(..., {advice}), and tell the makers of vLLM "
                "or vllm-ascend."
            )

    async def _alone(self, ids: Ids) -> float:
        """A logit for which nothing was cached.

        Raises:
            ModelError: it is no number.
        """
        logit = (await self._ask([Prompt(ids, next(self._salts))]))[0].logit
        if not math.isfinite(logit):
            raise ModelError(
                f"The model computes {logit} for an ordinary prompt, with nothing cached: its "
                "weights are damaged, or too large for this dtype. With dtype float16 take "
                "bfloat16 or float32; else fetch the model again."
            )
        return logit

    def _query(self, tokens: int) -> Ids:
        """The first so many tokens of a query part."""
        (one,) = self._tokenizer.encode_batch([_MORE])
        words = _QUESTION + _MORE * (tokens // max(1, len(one.ids)) + 1)
        (part,) = self._tokenizer.encode_batch([query_part(DEFAULT_INSTRUCTION, words)])
        return tuple(part.ids)[:tokens]

    def _of_length(self, tokens: int, end: int | None = None) -> list[Ids]:
        """Prompts of exactly so many tokens, one for each document; none if they do not fit."""
        parts = self._documents(end)
        if max(map(len, parts)) >= tokens:
            return []
        return [self._query(tokens - len(one)) + one for one in parts]

    def _documents(self, end: int | None = None) -> list[Ids]:
        """Document parts; with -1 the known mutant, one final newline fewer."""
        parts = [document_part(one)[:end] for one in _DOCUMENTS]
        return [tuple(one.ids) for one in self._tokenizer.encode_batch(parts)]


def _repeated(some: Sequence[Value], times: int) -> list[Value]:
    return [some[at % len(some)] for at in range(times)]
