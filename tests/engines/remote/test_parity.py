"""The parity body over HTTP: the server runs the bundled model in float32 on the ids it gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from qwen3_ascend_retrievers import RemoteEngine, Reranker
from support.parity import (
    MAX_LENGTH,
    PAIRS,
    check_mutants,
    check_parity,
    expected_logits,
    logits_of,
)
from support.rerank_answers import Setup
from support.rerank_server import RerankServer

TOLERANCE = 1e-3
MODES: dict[str, tuple[str, dict[str, Any]]] = {
    "no template": ("none", {}),
    "server template": ("exact", {}),
    "ids": ("none", {"tokenizer": "tiny"}),
    "ids in spite of the official template": ("official", {}),
}


@pytest.fixture(scope="module")
def scorer(tiny_folder: Path) -> Callable[[Sequence[int]], float]:
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32).eval()
    words = AutoTokenizer.from_pretrained(tiny_folder)
    yes, no = words.convert_tokens_to_ids(["yes", "no"])

    @cache
    def score(ids: tuple[int, ...]) -> float:
        with torch.no_grad():
            last = model(input_ids=torch.tensor([ids])).logits[0, -1]
        return float(last[yes] - last[no])

    return lambda ids: score(tuple(ids))


@pytest.fixture
def reranker(
    request: pytest.FixtureRequest, scorer: Callable[[Sequence[int]], float]
) -> Iterator[Reranker]:
    template, settings = MODES[request.param]
    setup = Setup(template=template, scorer=scorer)
    with RerankServer(setup) as server, RemoteEngine(server.url, **settings) as engine:
        yield Reranker(engine, max_length=MAX_LENGTH)


@pytest.mark.parametrize("reranker", MODES, indirect=True)
def test_logits_are_the_model_cards(reranker: Reranker, tiny_folder: Path) -> None:
    check_parity(logits_of(reranker), expected_logits(tiny_folder), absolute=TOLERANCE)


# A prompt that the server builds is out of the mutants' reach.
@pytest.mark.parametrize("reranker", ["no template", "ids"], indirect=True)
def test_the_body_sees_every_mutant(reranker: Reranker, tiny_folder: Path) -> None:
    check_mutants(logits_of(reranker), expected_logits(tiny_folder), absolute=TOLERANCE)


@pytest.mark.parametrize("reranker", ["no template"], indirect=True)
async def test_async_is_the_same(reranker: Reranker) -> None:
    assert await reranker.ascore(PAIRS) == pytest.approx(reranker.score(PAIRS), abs=1e-9)
