"""VLLMEngine computes what the model card's code computes, on both models and both precisions."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from qwen3_ascend_retrievers import LocalEngine, Reranker, VLLMEngine
from qwen3_ascend_retrievers.core.plan import Limits, Plan
from qwen3_ascend_retrievers.core.planner import plan_steps
from qwen3_ascend_retrievers.core.prompt import DEFAULT_INSTRUCTION
from qwen3_ascend_retrievers.core.steps import drive_tokens
from qwen3_ascend_retrievers.engines.base import Call, Engine
from qwen3_ascend_retrievers.models.conversion import convert
from support.parity import (
    MAX_LENGTH,
    PAIRS,
    UNSEEN_IN_BFLOAT16,
    LogitsOf,
    Pair,
    card_prompts,
    check_mutants,
    check_parity,
    check_spread,
    expected_logits,
    logits_of,
    plan_of,
)
from support.strategies import SNIPPETS

Start = Callable[..., VLLMEngine]

FLOAT32 = {"absolute": 1e-3}
BFLOAT16 = {"relative": 0.02}
FUZZED = 1000


@pytest.fixture(scope="module", params=["tiny", "random"])
def folder(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.getfixturevalue(f"{request.param}_folder")
    return folder


@pytest.fixture(scope="module")
def expected(folder: Path) -> Sequence[float]:
    return expected_logits(folder)


@pytest.fixture(scope="module")
def fuzzed() -> list[Pair]:
    """1,000 pairs of 100 queries, made of what is hard on a tokenizer."""
    chance = random.Random(4)

    def text(most: int) -> str:
        return "".join(chance.choices(SNIPPETS, k=chance.randint(1, most)))

    queries = [text(6) for _ in range(FUZZED // 10)]
    return [(query, text(20)) for query in queries for _ in range(10)]


@pytest.fixture(scope="module")
def fuzzed_logits(folder: Path, fuzzed: list[Pair]) -> list[float]:
    """What the model card's formula makes of them, without the logits before the last."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    yes, no = tokenizer.convert_tokens_to_ids(["yes", "no"])
    logits = []
    with torch.inference_mode():
        for text in card_prompts(folder, fuzzed):
            ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
            last = model(input_ids=ids, logits_to_keep=1).logits[0, -1]
            logits.append(float(last[yes] - last[no]))
    return logits


def test_float32_is_the_model_cards(start: Start, folder: Path, expected: Sequence[float]) -> None:
    engine = start(folder, "float32")
    check_parity(logits_of(Reranker(engine)), expected, **FLOAT32)
    check_mutants(logits_of(Reranker(engine)), expected, **FLOAT32)
    assert engine.self_check == "passed"


def test_bfloat16_stays_within_two_percent(
    start: Start, folder: Path, expected: Sequence[float]
) -> None:
    engine = start(folder, "bfloat16")
    check_parity(logits_of(Reranker(engine)), expected, **BFLOAT16)
    assert engine.self_check == "passed"


@pytest.mark.parametrize("model", UNSEEN_IN_BFLOAT16)
def test_the_bfloat16_body_sees_the_mutants(
    start: Start, model: str, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(f"{model}_folder")
    logits = logits_of(Reranker(start(folder, "bfloat16")))
    check_mutants(logits, expected_logits(folder), UNSEEN_IN_BFLOAT16[model], **BFLOAT16)


@pytest.mark.parametrize(("dtype", "bound"), [("float32", FLOAT32), ("bfloat16", BFLOAT16)])
def test_a_thousand_fuzzed_pairs(
    start: Start,
    folder: Path,
    fuzzed: list[Pair],
    fuzzed_logits: list[float],
    dtype: str,
    bound: dict[str, float],
) -> None:
    check_spread(fuzzed_logits)
    got = _in_one_call(start(folder, dtype), folder)(fuzzed)
    spread = max(fuzzed_logits) - min(fuzzed_logits)
    allowed = bound.get("absolute", 0) + bound.get("relative", 0) * spread
    assert max(abs(a - b) for a, b in zip(got, fuzzed_logits, strict=True)) <= allowed


def test_prompt_ids_are_local_engines(start: Start, folder: Path, fuzzed: list[Pair]) -> None:
    local = LocalEngine(str(folder), "cpu", "float32", MAX_LENGTH)
    mine, other = (_planned(engine, fuzzed) for engine in (start(folder, "float32"), local))
    local.close()
    ids = [mine.prompt_ids(at) for at in range(len(mine.passages))]
    assert None not in ids
    assert ids == [other.prompt_ids(at) for at in range(len(other.passages))]


@pytest.mark.parametrize(("dtype", "allowed"), [("float32", 1e-4), ("bfloat16", 1e-2)])
def test_a_converted_checkpoint_scores_the_same(
    start: Start, random_folder: Path, converted: Path, dtype: str, allowed: float
) -> None:
    original_logits = logits_of(Reranker(start(random_folder, dtype)))(PAIRS)
    converted_logits = logits_of(Reranker(start(converted, dtype)))(PAIRS)
    assert converted_logits == pytest.approx(original_logits, abs=allowed)


@pytest.fixture(scope="module")
def converted(random_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random model, as `qwen3-rerank convert` makes it."""
    return convert(str(random_folder), tmp_path_factory.mktemp("converted") / "model").folder


def _planned(engine: Engine, pairs: Sequence[Pair]) -> Plan:
    limits = Limits(max_length=MAX_LENGTH)
    return drive_tokens(plan_steps(pairs, DEFAULT_INSTRUCTION, limits), engine.encode)


def _in_one_call(engine: VLLMEngine, folder: Path) -> LogitsOf:
    """All pairs in one plan, as `Reranker.score` passes them."""

    def logits(pairs: Sequence[Pair]) -> list[float]:
        plan = plan_of(folder, pairs)
        scores = engine.score(plan, Call())
        by_pair = [scores[at].logit for (at,) in plan.inputs]
        assert None not in by_pair
        return [logit for logit in by_pair if logit is not None]

    return logits
