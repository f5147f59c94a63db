"""The compressor passes the published suite, and the suite fails on faulty ones."""

from __future__ import annotations

from typing import Any

import pytest

from qwen3_ascend_retrievers.langchain import Qwen3Rerank
from qwen3_ascend_retrievers.testing import CompressorConformance
from support.mutant_runs import failed_tests

FAULTS = {
    "NoOp": {"test_best_first", "test_scores"},
    "Reversed": {"test_best_first"},
    "DroppedId": {"test_ids_and_metadata_are_kept"},
    "MutatedInput": {"test_input_is_not_changed"},
    "WrongKey": {"test_scores"},
    "AsyncByThread": {"test_async_does_not_use_a_thread"},
    "AsyncInOtherLoop": {"test_async_does_not_use_a_thread"},
    "LostCallbacks": {"test_child_run", "test_errors_are_raised_and_traced"},
}


class TestQwen3Rerank(CompressorConformance):
    def make(self, engine: Any, **fields: Any) -> Qwen3Rerank:
        return Qwen3Rerank(engine=engine, **fields)


class TestQwen3RerankWithItsOwnKey(CompressorConformance):
    score_key = "rank"

    def make(self, engine: Any, **fields: Any) -> Qwen3Rerank:
        return Qwen3Rerank(engine=engine, score_key="rank", **fields)


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    return failed_tests("langchain_mutants.py", tmp_path_factory.mktemp("mutants"))


@pytest.mark.parametrize("fault", FAULTS)
def test_the_suite_fails_on(fault: str, failed: dict[str, set[str]]) -> None:
    assert failed[fault] >= FAULTS[fault]


def test_the_suite_passes_on_a_sound_one(failed: dict[str, set[str]]) -> None:
    assert failed["Sound"] == set()
    assert set(failed) == {*FAULTS, "Sound"}
