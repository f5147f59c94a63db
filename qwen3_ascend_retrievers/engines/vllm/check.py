"""The numeric self-check: does a loaded engine compute the same with and without its caches?

Prefix caching and chunked prefill have given silently wrong scores on some platforms (vllm-ascend
#7145). A short pair exercises neither: whole blocks must be shared, and a prompt must be longer
than one step of the engine. Nothing here knows vLLM; prompts go out through a function.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final, Literal

from ...core.agreement import Agreement
from ...core.prompt import DEFAULT_INSTRUCTION, document_part, query_part
from ...core.tokens import Tokenizer
from ...errors import EngineError

Ids = tuple[int, ...]
Outcome = Literal["passed", "not exercised"]

_BLOCKS: Final = 3
_WORDS: Final = "Which town is the capital of the country, and what else is known about it? "
_DOCUMENTS: Final = (
    "The capital of China is Beijing.",
    "Put the egg into boiling water for eight minutes, then cool it under cold water.",
)
# DESIGN, rule 1: what two right computations in 16 bits may differ by, as a share of the range.
_SHARE: Final = 0.02


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
        length: tokens of the longest prompt.
        half: whether the model computes in 16 bits.
    """

    block: int | None
    step: int | None
    length: int
    half: bool


async def self_check(ask: Ask, tokenizer: Tokenizer, sizes: Sizes) -> Outcome:
    """Compare logits without the caches' help with logits with it.

    Args:
        ask: sends prompts at the same time and gives their answers in order.
        tokenizer: the model's.
        sizes: the engine's.

    Returns:
        "not exercised" where the cache was never hit, so that nothing was compared.

    Raises:
        EngineError: they differ; the message says which setting to change.
    """
    if sizes.block is None:
        return "not exercised"
    check = _Check(ask, tokenizer, sizes, sizes.block)
    if not await check.prefix():
        return "not exercised"
    await check.chunks()
    return "passed"


class _Check:
    def __init__(self, ask: Ask, tokenizer: Tokenizer, sizes: Sizes, block: int) -> None:
        self._ask, self._tokenizer, self._sizes, self._block = ask, tokenizer, sizes, block
        self._salts = (f"self-check-{number}" for number in count())
        self._noise = 0.0

    async def prefix(self) -> bool:
        """Whether the cache was hit, with the right logits; raises if they were wrong."""
        query = self._query(_BLOCKS * self._block + 1)
        whole = [query + one for one in self._documents()]
        if max(map(len, whole)) > self._sizes.length:
            return False
        mutants = [query + one for one in self._documents(-1)]
        exact = [await self._alone(ids) for ids in whole]
        again = await self._ask([Prompt(ids, next(self._salts)) for ids in whole])
        pairs = zip(exact, again, strict=True)
        self._noise = max(abs(one - other.logit) for one, other in pairs)
        if self._sizes.half:
            self._noise = max(self._noise, _SHARE / 3 * abs(exact[0] - exact[1]))
        shared = next(self._salts)
        await self._ask([Prompt(whole[0], shared)])
        hits = [(await self._ask([Prompt(ids, shared)]))[0] for ids in whole]
        if not all(hit.cached > 0 for hit in hits):
            return False
        known = [await self._alone(ids) for ids in mutants]
        self._compare(exact, known, [hit.logit for hit in hits], "prefix_caching=False")
        return True

    async def chunks(self) -> None:
        """Raise if a prompt that takes two steps differs from one whose start was cached."""
        step, block = self._sizes.step, self._block
        if step is None or step + block > self._sizes.length or step < 2 * block:
            return
        first, second = (one[0] for one in (self._documents(), self._documents(-1)))
        query = self._query(step + block - len(first))[: step + block - len(first)]
        kept = next(self._salts)
        # In one step, so that the reference depends on the prefix cache alone, which was tested.
        await self._ask([Prompt(query[: (step - 1) // block * block], kept)])
        exact, mutant = [
            (await self._ask([Prompt(query + part, kept)]))[0] for part in (first, second)
        ]
        if exact.cached == 0:
            return
        split = await self._alone(query + first)
        advice = (
            "vllm_args={'enable_chunked_prefill': False, "
            f"'max_num_batched_tokens': {self._sizes.length}}}"
        )
        self._compare([exact.logit], [mutant.logit], [split], advice)

    def _compare(
        self, exact: list[float], mutant: list[float], got: list[float], advice: str
    ) -> None:
        agreement = Agreement(tuple(exact), tuple(mutant), self._noise)
        if not agreement.holds(got, logits=True):
            raise EngineError(
                "The self-check failed: for the same prompts this engine computes the logits "
                f"{_shown(exact)} and, by another way, {_shown(got)}, so its scores cannot be "
                f"believed and it refuses to serve. Use VLLMEngine(..., {advice}), and tell the "
                "makers of vLLM or vllm-ascend."
            )

    async def _alone(self, ids: Ids) -> float:
        """A logit for which nothing was cached."""
        return (await self._ask([Prompt(ids, next(self._salts))]))[0].logit

    def _query(self, tokens: int) -> Ids:
        """A query part of at least so many tokens."""
        (one,) = self._tokenizer.encode_batch([_WORDS])
        words = _WORDS * (tokens // max(1, len(one.ids)) + 1)
        (part,) = self._tokenizer.encode_batch([query_part(DEFAULT_INSTRUCTION, words)])
        return tuple(part.ids)

    def _documents(self, end: int | None = None) -> list[Ids]:
        """Document parts; with -1 the known mutant, one final newline fewer."""
        parts = [document_part(one)[:end] for one in _DOCUMENTS]
        return [tuple(one.ids) for one in self._tokenizer.encode_batch(parts)]


def _shown(logits: Sequence[float]) -> str:
    return ", ".join(f"{one:.4f}" for one in logits)
