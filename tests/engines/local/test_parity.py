"""LocalEngine computes what the model card's code computes, on both models and both precisions."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, Qwen3ForCausalLM, Qwen3ForSequenceClassification

from qwen3_ascend_retrievers import LocalEngine, Reranker, Score
from qwen3_ascend_retrievers.core.ranking import sigmoid
from qwen3_ascend_retrievers.engines.base import Call
from support.parity import (
    CARD_PROMPT,
    MAX_LENGTH,
    PAIRS,
    UNSEEN_IN_BFLOAT16,
    LogitsOf,
    Pair,
    card_logits,
    check_mutants,
    check_parity,
    expected_logits,
    logits_of,
    plan_of,
)

FLOAT32 = {"absolute": 1e-4}
BFLOAT16 = {"relative": 0.02}


@pytest.fixture(scope="module", params=["tiny", "random"])
def folder(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(f"{request.param}_folder")
    return path


@pytest.fixture(scope="module")
def expected(folder: Path) -> Sequence[float]:
    return expected_logits(folder)


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[LocalEngine]:
    engine = LocalEngine(str(folder), device="cpu", dtype="float32", max_length=MAX_LENGTH)
    yield engine
    engine.close()


def test_float32_is_the_model_cards(engine: LocalEngine, expected: Sequence[float]) -> None:
    check_parity(logits_of(Reranker(engine)), expected, **FLOAT32)


def test_the_float32_body_sees_every_mutant(engine: LocalEngine, expected: Sequence[float]) -> None:
    # At the tolerance of other engines, so that theirs can fail too.
    check_mutants(logits_of(Reranker(engine)), expected, absolute=1e-3)


def test_bfloat16_stays_within_two_percent(folder: Path, expected: Sequence[float]) -> None:
    with Reranker(LocalEngine(str(folder), "cpu", "bfloat16", MAX_LENGTH)) as reranker:
        check_parity(logits_of(reranker), expected, **BFLOAT16)


@pytest.mark.parametrize("model", UNSEEN_IN_BFLOAT16)
def test_the_bfloat16_body_sees_the_mutants(model: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(f"{model}_folder")
    with Reranker(LocalEngine(str(folder), "cpu", "bfloat16", MAX_LENGTH)) as reranker:
        logits = logits_of(reranker)
        check_mutants(logits, expected_logits(folder), UNSEEN_IN_BFLOAT16[model], **BFLOAT16)


def test_many_queries_in_one_call(
    engine: LocalEngine, folder: Path, expected: Sequence[float]
) -> None:
    check_parity(_in_one_call(engine, folder), expected, **FLOAT32)


async def test_async_is_the_same(
    engine: LocalEngine, folder: Path, expected: Sequence[float]
) -> None:
    plan = plan_of(folder)
    scores = await engine.ascore(plan, Call())
    check_parity(lambda _: [_logit(scores[at]) for (at,) in plan.inputs], expected, **FLOAT32)
    probabilities = await Reranker(engine).ascore(PAIRS)
    assert probabilities == pytest.approx([sigmoid(logit) for logit in expected], abs=1e-4)


def test_an_instruction_of_ones_own(engine: LocalEngine, folder: Path) -> None:
    query, document = PAIRS[0]
    task = "Given a question about food, retrieve {recipes} that answer it"
    got = Reranker(engine, instruction=task).rank(query, [document]).results[0].logit
    prompt = CARD_PROMPT.format(instruction=task, query=query, document=document)
    (card_logit,) = card_logits(folder, [prompt])
    assert got == pytest.approx(card_logit, abs=1e-4)
    plain = Reranker(engine).rank(query, [document]).results[0].logit
    assert plain != pytest.approx(card_logit, abs=1e-3)


@pytest.mark.parametrize("batch_tokens", [1, 700, 3000])
def test_small_batches(folder: Path, expected: Sequence[float], batch_tokens: int) -> None:
    engine = LocalEngine(str(folder), "cpu", "float32", MAX_LENGTH, batch_tokens)
    with Reranker(engine) as reranker:
        check_parity(logits_of(reranker), expected, **FLOAT32)


def test_order_company_and_duplicates_change_no_logit(engine: LocalEngine, folder: Path) -> None:
    logits = _in_one_call(engine, folder)
    logit_of = dict(zip(PAIRS, logits(PAIRS), strict=True))
    chance = random.Random(5)
    for size in (2, 7, 20, 60):
        pairs = chance.choices(PAIRS, k=size)
        assert logits(pairs) == pytest.approx([logit_of[pair] for pair in pairs], abs=1e-4)


def test_a_converted_checkpoint(random_folder: Path, tmp_path: Path) -> None:
    original: Any = Qwen3ForCausalLM.from_pretrained(random_folder, dtype=torch.float32)
    original.config.num_labels = 1
    converted: Any = Qwen3ForSequenceClassification(original.config)
    converted.model = original.model
    yes, no = AutoTokenizer.from_pretrained(random_folder).convert_tokens_to_ids(["yes", "no"])
    head = original.lm_head.weight.detach()
    converted.score.weight = torch.nn.Parameter((head[yes] - head[no])[None])
    converted.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(random_folder / name, tmp_path)
    with Reranker(LocalEngine(str(tmp_path), "cpu", "float32", MAX_LENGTH)) as reranker:
        check_parity(logits_of(reranker), expected_logits(random_folder), **FLOAT32)


def _in_one_call(engine: LocalEngine, folder: Path) -> LogitsOf:
    """All pairs in one plan, as `Reranker.score` passes them."""

    def logits(pairs: Sequence[Pair]) -> list[float]:
        plan = plan_of(folder, pairs)
        scores = engine.score(plan, Call())
        return [_logit(scores[at]) for (at,) in plan.inputs]

    return logits


def _logit(score: Score) -> float:
    assert score.logit is not None
    return score.logit
