"""The numeric self-check on a model whose caches and steps can be made wrong. No vLLM."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from qwen3_ascend_retrievers.engines.vllm.self_check import Prompt, PromptLogit, Sizes, self_check
from qwen3_ascend_retrievers.errors import EngineError, ModelError
from qwen3_ascend_retrievers.models.tokenizer import load_tokenizer

SIZES = Sizes(block=16, step=256, prompts=8, length=1024, half=False)
# What vLLM 0.32 makes of max_length=512: no prompt is longer than a step.
SHORT = replace(SIZES, step=2048, length=512, prompts=128)


class Model:
    """Answers from a cache of whole blocks in steps, like vLLM, and can be made wrong.

    Args:
        sizes: block, step, and prompts of a step.
        cached: added to a logit for which something was cached.
        split: added to a logit of a prompt that took two steps.
        noise: the largest random-looking difference between any two answers.
        arrived: how many prompts are there when the first step starts.
    """

    def __init__(
        self,
        sizes: Sizes = SIZES,
        cached: float = 0,
        split: float = 0,
        noise: float = 0,
        arrived: int = 1,
    ) -> None:
        self.sizes, self.cached, self.split = sizes, cached, split
        self.noise, self.arrived = noise, arrived
        self.cached_blocks: set[tuple[str, tuple[int, ...]]] = set()
        self.prompts: list[Prompt] = []

    async def __call__(self, prompts: Sequence[Prompt]) -> list[PromptLogit]:
        """The first step starts before all prompts have arrived, as in vLLM."""
        answers: list[PromptLogit] = []
        size, most = self.sizes.step or math.inf, self.sizes.prompts
        for arrived in (prompts[: self.arrived], prompts[self.arrived :]):
            room, places = size, most
            for prompt in arrived:
                if not room or not places:
                    room, places = size, most
                answer = self._answer(prompt)
                remaining = len(prompt.ids) - answer.cached
                wrong = self.split if remaining > room else 0
                while remaining > room:
                    remaining, room, places = remaining - room, size, most
                room, places = room - remaining, places - 1
                answers.append(replace(answer, logit=answer.logit + wrong))
        return answers

    def _answer(self, prompt: Prompt) -> PromptLogit:
        self.prompts.append(prompt)
        block = self.sizes.block or len(prompt.ids)
        ends = range(block, len(prompt.ids), block)
        blocks = [(prompt.salt, prompt.ids[:end]) for end in ends]
        hits = block * sum(key in self.cached_blocks for key in blocks)
        self.cached_blocks |= set(blocks)
        logit = (hash(prompt.ids) % 1000) / 100
        logit += self.cached * (hits > 0) + self.noise * (len(self.prompts) % 3) / 2
        return PromptLogit(logit, hits)


async def check(model: Model, folder: Path) -> str:
    return await self_check(model, load_tokenizer(str(folder)), model.sizes)


async def test_the_self_check_spans_blocks_and_steps(tiny_folder: Path) -> None:
    model = Model()
    assert await check(model, tiny_folder) == "passed"
    lengths = [len(prompt.ids) for prompt in model.prompts]
    assert min(lengths) > 3 * 16
    assert max(lengths) > 256
    assert max(lengths) <= SIZES.length


@pytest.mark.parametrize("wrong", [0.5, -3, 100])
async def test_wrong_cached_logits_are_refused(tiny_folder: Path, wrong: float) -> None:
    with pytest.raises(EngineError, match=r"refuses to serve.*prefix_caching=False"):
        await check(Model(cached=wrong), tiny_folder)


@pytest.mark.parametrize(
    ("sizes", "tokens"),
    [
        (SIZES, 1024),
        (SHORT, 2048),
        # Just longer than a step; shorter than half of one; a step of few prompts.
        (replace(SIZES, step=256, length=260), 260),
        (replace(SHORT, length=120), 2048),
        (replace(SHORT, prompts=5), 2048),
        # No cache to take the start of a long prompt from.
        (replace(SIZES, block=None), 1024),
    ],
)
async def test_wrong_split_logits_are_refused(tiny_folder: Path, sizes: Sizes, tokens: int) -> None:
    setting = rf"'enable_chunked_prefill': False, 'max_num_batched_tokens': {tokens}}}"
    with pytest.raises(EngineError, match=setting):
        await check(Model(sizes, split=4), tiny_folder)
    right = Model(sizes)
    assert await check(right, tiny_folder) == ("passed" if sizes.block else "not exercised")
    assert max(len(prompt.ids) for prompt in right.prompts) <= sizes.length


async def test_where_no_prompt_is_ever_split_there_is_nothing_to_split(tiny_folder: Path) -> None:
    for sizes in (replace(SHORT, prompts=4), replace(SIZES, step=None)):
        model = Model(sizes, split=4)
        assert await check(model, tiny_folder) == "passed"
        assert len(model.prompts) == 11


async def test_noise_of_16_bits_is_no_disagreement(tiny_folder: Path) -> None:
    for sizes in (SIZES, SHORT):
        half = Model(replace(sizes, half=True), noise=0.19)
        assert await check(half, tiny_folder) == "passed"


async def test_what_is_no_noise_excuses_nothing(tiny_folder: Path) -> None:
    # Two of the first prompts do not fit into this step: one of them would be split, and be wrong.
    small = replace(SIZES, block=64, step=256)
    for model in (
        Model(small, split=0.4, arrived=2),
        Model(replace(SIZES, step=None), cached=4, noise=4),
    ):
        with pytest.raises(EngineError, match="refuses to serve"):
            await check(model, tiny_folder)


@pytest.mark.parametrize(
    ("sizes", "part"),
    [
        (replace(SIZES, block=None, step=None), "the prefix cache"),
        (replace(SIZES, block=128, length=300, step=None), "the prefix cache"),
        (replace(SIZES, step=20, prompts=1), "chunked prefill"),
        (Sizes(block=None, step=20, prompts=1, length=300, half=False), "cache and chunked"),
    ],
)
async def test_what_was_not_compared_is_not_passed(
    tiny_folder: Path, sizes: Sizes, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert await check(Model(sizes), tiny_folder) == "not exercised"
    (line,) = caplog.messages
    assert line.startswith("The self-check did not exercise ")
    assert part in line


async def test_a_cache_that_is_never_hit_is_not_passed(tiny_folder: Path) -> None:
    class Forgetful(Model):
        async def __call__(self, prompts: Sequence[Prompt]) -> list[PromptLogit]:
            self.cached_blocks.clear()
            return await super().__call__(prompts)

    assert await check(Forgetful(), tiny_folder) == "not exercised"


@pytest.mark.parametrize("sizes", [SIZES, replace(SIZES, block=None), SHORT])
@pytest.mark.parametrize("logit", [math.nan, math.inf])
async def test_a_model_without_numbers_is_no_matter_of_caches(
    tiny_folder: Path, sizes: Sizes, logit: float
) -> None:
    async def compute(prompts: Sequence[Prompt]) -> list[PromptLogit]:
        return [PromptLogit(logit, 0) for _ in prompts]

    with pytest.raises(ModelError, match="weights are damaged") as caught:
        await self_check(compute, load_tokenizer(str(tiny_folder)), sizes)
    assert "prefix_caching" not in str(caught.value)
