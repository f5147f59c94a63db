"""The numeric self-check: does a loaded engine compute the same with and without its caches?

Prefix caching and chunked prefill have given silently wrong scores on some platforms (vllm-ascend
#7145). A short pair exercises neither: whole blocks must be shared, and a prompt must not fit into
one step of the engine. Nothing here knows vLLM; a function computes the logits.
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

Value = TypeVar("Value")
SelfCheckResult = Literal["passed", "not exercised"]

# Blocks of the prefix cache that the prompts share.
_SHARED_BLOCKS: Final = 3
# Tokens of an ordinary query part.
_QUERY_TOKENS: Final = 80
# The question stands at the start only, so that without the start the logit is another one.
_QUESTION: Final = "Which town is the capital of the country? "
_FILLER: Final = "Say also what else is known about it. "
_DOCUMENTS: Final = (
    "The capital of China is Beijing.",
    "Put the egg into boiling water for eight minutes, then cool it under cold water.",
)
# docs/decisions/5-parity.md: what two right computations in 16 bits may differ by, as a share of
# the range.
_NOISE_SHARE: Final = 0.02
# Two runs in 16 bits may give probabilities 0.05 apart, which is four times that in a logit near 0.
_MAX_NOISE: Final = 0.2


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids, and the part of the prefix cache that they may share: one for each salt."""

    ids: tuple[int, ...]
    salt: str


@dataclass(frozen=True, slots=True)
class PromptLogit:
    """The logit of a prompt, and how many of its tokens came from the prefix cache."""

    logit: float
    cached: int


ComputeLogits = Callable[[Sequence[Prompt]], Awaitable[Sequence[PromptLogit]]]


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


async def self_check(compute: ComputeLogits, tokenizer: Tokenizer, sizes: Sizes) -> SelfCheckResult:
    """Compare logits that are computed without the caches with logits that use them.

    Args:
        compute: sends prompts at the same time and returns their logits in order.
        tokenizer: the model's.
        sizes: the engine's.

    Returns:
        "not exercised" where the cache was never hit, or a prompt may take two steps and none could
        be made to; the log says which.

    Raises:
        EngineError: they differ; the message says which setting to change.
        ModelError: the model computes no number, whatever the caches do.
    """
    check = _Check(compute, tokenizer, sizes)
    await check.ordinary_prompts()
    parts = {
        "the prefix cache": await check.prefix_cache(),
        "chunked prefill": await check.chunked_prefill(),
    }
    not_exercised = [name for name, is_compared in parts.items() if not is_compared]
    if not_exercised:
        logger.warning("The self-check did not exercise %s.", " and ".join(not_exercised))
        return "not exercised"
    return "passed"


class _Check:
    def __init__(self, compute: ComputeLogits, tokenizer: Tokenizer, sizes: Sizes) -> None:
        self._compute, self._tokenizer, self._sizes = compute, tokenizer, sizes
        self._salts = (f"self-check-{number}" for number in count())
        self._noise = 0.0

    async def ordinary_prompts(self) -> None:
        """Raise if an ordinary prompt has no logit, which no cache can be the cause of."""
        query = self._query(_QUERY_TOKENS)
        for document in self._documents():
            await self._uncached_logit((query + document)[: self._sizes.length])

    async def prefix_cache(self) -> bool:
        """Whether the cache was hit, with the right logits; raises if they were wrong."""
        if self._sizes.block is None:
            return False
        query = self._query(_SHARED_BLOCKS * self._sizes.block + 1)
        prompts = [query + document for document in self._documents()]
        if max(map(len, prompts)) > self._sizes.length:
            return False
        mutant_prompts = [query + document for document in self._documents(-1)]
        exact = [await self._uncached_logit(ids) for ids in prompts]
        await self._measure_noise(prompts, exact)
        shared = next(self._salts)
        await self._compute([Prompt(prompts[0], shared)])
        hits = [(await self._compute([Prompt(ids, shared)]))[0] for ids in prompts]
        if not all(hit.cached > 0 for hit in hits):
            return False
        mutant = [await self._uncached_logit(ids) for ids in mutant_prompts]
        self._compare(exact, mutant, [hit.logit for hit in hits], "prefix_caching=False")
        return True

    async def _measure_noise(self, prompts: list[tuple[int, ...]], alone: list[float]) -> None:
        """How much a prompt's logit changes in a batch, as far as that may be noise.

        Args:
            prompts: their token ids.
            alone: the logit of each in a request of its own.
        """
        if self._sizes.step is not None and sum(map(len, prompts)) > self._sizes.step:
            return  # One of them would be split, which has not been proven right yet.
        batched = await self._compute([Prompt(ids, next(self._salts)) for ids in prompts])
        difference = max(abs(a - b.logit) for a, b in zip(alone, batched, strict=True))
        self._noise = min(difference, max(_MAX_NOISE, _NOISE_SHARE * max(map(abs, alone))))

    async def chunked_prefill(self) -> bool:
        """Whether a prompt that took two steps was right, or none can; raises if it was wrong."""
        step = self._sizes.step
        if step is None or step >= self._sizes.prompts * self._sizes.length:
            return True
        return await self._one_split_prompt(step) or await self._crowded_step(step)

    async def _one_split_prompt(self, step: int) -> bool:
        """The same where the query part fills a step, against its start from the prefix cache."""
        documents, mutant_documents = self._documents(), self._documents(-1)
        longest = max(map(len, documents))
        block = self._sizes.block
        start = 0 if block is None else (step - 1) // block * block
        if start < longest or step + longest > self._sizes.length:
            return False
        query, shared = self._query(step), next(self._salts)
        # All of it in one step each, so that the reference depends on the tested cache only.
        await self._compute([Prompt(query[:start], shared)])
        exact, mutant = [
            [(await self._compute([Prompt(query + document, shared)]))[0] for document in kind]
            for kind in (documents, mutant_documents)
        ]
        if not all(hit.cached for hit in exact):
            return False
        split = [await self._uncached_logit(query + document) for document in documents]
        references = [hit.logit for hit in exact], [hit.logit for hit in mutant]
        self._compare(*references, split, self._without_chunks())
        return True

    async def _crowded_step(self, step: int) -> bool:
        """The same for prompts each of which fits into a step, but not all into the same one.

        `whole` of them fit, and about a half of the next: the engine splits that one. So many are
        sent that this happens even if two steps start before all have arrived.
        """
        most = self._sizes.length
        whole = min(max(1, -((most - 2 * step) // (2 * most))), self._sizes.prompts - 1)
        length = min(most, -(-2 * step // (2 * whole + 1)))
        prompts, mutant_prompts = self._of_length(length), self._of_length(length, -1)
        if whole < 1 or not prompts:
            return False
        exact, mutant = [
            [await self._uncached_logit(ids) for ids in kind] for kind in (prompts, mutant_prompts)
        ]
        total = 3 * whole + 1
        crowd = [Prompt(ids, next(self._salts)) for ids in _repeated(prompts, total)]
        logits = [answer.logit for answer in await self._compute(crowd)]
        references = _repeated(exact, total), _repeated(mutant, total)
        self._compare(*references, logits, self._without_chunks())
        return True

    def _without_chunks(self) -> str:
        tokens = max(self._sizes.step or 0, self._sizes.length)
        return f"vllm_args={{'enable_chunked_prefill': False, 'max_num_batched_tokens': {tokens}}}"

    def _compare(
        self, exact: list[float], mutant: list[float], logits: list[float], advice: str
    ) -> None:
        if self._sizes.half:
            self._noise = max(self._noise, _NOISE_SHARE / 3 * (max(exact) - min(exact)))
        agreement = Agreement(tuple(exact), tuple(mutant), self._noise)
        if not agreement.holds(logits, logits=True):
            pairs = zip(exact, logits, strict=True)
            reference, logit = max(pairs, key=lambda pair: abs(pair[0] - pair[1]))
            raise EngineError(
                f"The self-check failed: for the same prompt this engine computes the logit "
                f"{reference:.4f} and, by another way, {logit:.4f}, so its scores cannot be "
                f"believed and it refuses to serve. Use VLLMEngine(..., {advice}), and tell the "
                "makers of vLLM or vllm-ascend."
            )

    async def _uncached_logit(self, ids: tuple[int, ...]) -> float:
        """A logit for which nothing was cached.

        Raises:
            ModelError: it is no number.
        """
        logit = (await self._compute([Prompt(ids, next(self._salts))]))[0].logit
        if not math.isfinite(logit):
            raise ModelError(
                f"The model computes {logit} for an ordinary prompt, with nothing cached: its "
                "weights are damaged, or too large for this dtype. With dtype float16 take "
                "bfloat16 or float32; else fetch the model again."
            )
        return logit

    def _query(self, tokens: int) -> tuple[int, ...]:
        """The first so many tokens of a query part."""
        (filler,) = self._tokenizer.encode_batch([_FILLER])
        text = _QUESTION + _FILLER * (tokens // max(1, len(filler.ids)) + 1)
        (part,) = self._tokenizer.encode_batch([query_part(DEFAULT_INSTRUCTION, text)])
        return tuple(part.ids)[:tokens]

    def _of_length(self, tokens: int, end: int | None = None) -> list[tuple[int, ...]]:
        """Prompts of exactly so many tokens, one for each document; none if they do not fit."""
        documents = self._documents(end)
        if max(map(len, documents)) >= tokens:
            return []
        return [self._query(tokens - len(document)) + document for document in documents]

    def _documents(self, end: int | None = None) -> list[tuple[int, ...]]:
        """Document parts; with -1 the mutant, which has one final newline fewer."""
        parts = [document_part(document)[:end] for document in _DOCUMENTS]
        return [tuple(encoding.ids) for encoding in self._tokenizer.encode_batch(parts)]


def _repeated(values: Sequence[Value], length: int) -> list[Value]:
    return [values[at % len(values)] for at in range(length)]
