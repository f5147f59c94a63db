"""Both adapters on the bundled model: the same scores as the facade, from threads and loops."""

from __future__ import annotations

from typing import Any

import pytest

from qwen3_ascend_retrievers import LocalEngine, langchain, llama_index
from support.adapter_checks import KINDS, Scores, check_direct_use, check_eight_threads, scores_by


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    return LocalEngine("tiny", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def scores(engine: LocalEngine) -> Scores:
    return scores_by(engine)


@KINDS
def test_eight_threads(kind: Any, call: Any, engine: LocalEngine, scores: Scores) -> None:
    check_eight_threads(kind(engine=engine, top_n=None), call, scores, absolute=1e-4)


@pytest.mark.parametrize("kind", [langchain.Qwen3Rerank, llama_index.Qwen3Rerank])
def test_tiny_by_its_name(kind: Any, scores: Scores) -> None:
    rerank = kind(model="tiny", max_length=512)
    # The engine that was chosen decides its own precision, of 8 bits in bf16.
    check_direct_use(rerank, scores, absolute=0.05)
    rerank.close()
