"""`qwen3-rerank convert`: in transformers and in vLLM the copy scores as its source."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from qwen3_ascend_retrievers import Reranker, VLLMEngine
from qwen3_ascend_retrievers.core.ranking import sigmoid
from qwen3_ascend_retrievers.models.files import TINY_FOLDER
from support.cli_runs import run
from support.parity import PAIRS, SMALLEST_SPREAD, card_logits, card_prompts
from support.qwen_tokenizer import qwen_tokenizer
from support.random_model import SHAPE_06B, make_random_model

Result = TypeVar("Result")
TOLERANCE = 1e-3
# Short and long, three queries, mixed scripts: all of them would take minutes.
SOME = PAIRS[:9:2] + PAIRS[11:18:2]


@dataclass(frozen=True)
class Conversion:
    source: Path
    copy: Path
    report: dict[str, Any]


@pytest.fixture(scope="module", params=["tiny", "0.6B's widths, sharded"])
def conversion(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Conversion:
    folder = tmp_path_factory.mktemp("converted")
    source, copy = TINY_FOLDER, folder / "copy"
    if request.param != "tiny":
        source = _apart(_make, folder / "source")
        assert len(list(source.glob("*.safetensors"))) >= 3
    process = run("convert", str(source), str(copy), "--json")
    assert process.returncode == 0, process.stderr
    return Conversion(source, copy, json.loads(process.stdout))


@pytest.fixture(scope="module")
def expected(conversion: Conversion) -> list[float]:
    """The source's scores by the model card's computation."""
    logits = _apart(card_logits, conversion.source, card_prompts(conversion.source, SOME))
    return [sigmoid(logit) for logit in logits]


def test_transformers_scores_the_copy_as_the_source(
    conversion: Conversion, expected: list[float]
) -> None:
    assert torch.tensor(expected).std(correction=0) >= SMALLEST_SPREAD
    got = _apart(_by_transformers, conversion.copy)
    assert got == pytest.approx(expected, abs=TOLERANCE)


def test_vllm_scores_the_copy_as_the_source(conversion: Conversion, expected: list[float]) -> None:
    by_vllm = [_scores(folder) for folder in (conversion.source, conversion.copy)]
    assert by_vllm[1] == pytest.approx(by_vllm[0], abs=TOLERANCE)
    assert by_vllm[1] == pytest.approx(expected, abs=TOLERANCE)
    assert conversion.report["peak_rss_bytes"] < 2e9


def _scores(folder: Path) -> list[float]:
    # The self-check's many prompts take minutes with a model of this size on a CPU.
    engine = VLLMEngine(
        str(folder), dtype="float32", max_length=512, enforce_eager=True, self_check=False
    )
    with Reranker(engine) as reranker:
        return reranker.score(SOME)


def _apart(work: Callable[..., Result], *arguments: Any) -> Result:
    """What `work` returns, in a process that takes a large model's memory with it."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _make(folder: Path) -> Path:
    # All 28 layers pass as well (run by hand), and take two cores five minutes.
    shape = SHAPE_06B | {"num_hidden_layers": 8}
    return make_random_model(folder, qwen_tokenizer(), shape=shape, shard_size="200MB")


def _by_transformers(folder: Path) -> list[float]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    scores = []
    with torch.inference_mode():
        for text in card_prompts(folder, SOME):
            ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
            scores.append(float(model(input_ids=ids).logits[0, 0].sigmoid()))
    return scores
