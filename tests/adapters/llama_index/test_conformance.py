"""The postprocessor passes the published suite, and the suite fails on faulty ones."""

from __future__ import annotations

from typing import Any

import pytest

from qwen3_ascend_retrievers.llama_index import Qwen3Rerank
from qwen3_ascend_retrievers.testing import PostprocessorConformance
from support.mutant_runs import failed_tests

FAULTS = {
    "NoOp": {"test_best_first", "test_scores"},
    "Reversed": {"test_best_first"},
    "DroppedId": {"test_ids_metadata_and_relationships_are_kept"},
    "MutatedInput": {"test_input_is_not_changed"},
    "WrongKey": {"test_scores"},
    "AsyncByThread": {"test_async_does_not_use_a_thread"},
    "AsyncInOtherLoop": {"test_async_does_not_use_a_thread"},
    "ScoreInTheText": {"test_texts_stay_the_same"},
    "LostEvents": {"test_events", "test_errors_are_raised_and_events_paired"},
    "LostCallbacks": {"test_events", "test_errors_are_raised_and_events_paired"},
}


class TestQwen3Rerank(PostprocessorConformance):
    def make(self, engine: Any, **fields: Any) -> Qwen3Rerank:
        return Qwen3Rerank(engine=engine, **fields)


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    return failed_tests("llamaindex_mutants.py", tmp_path_factory.mktemp("mutants"))


@pytest.mark.parametrize("fault", FAULTS)
def test_the_suite_fails_on(fault: str, failed: dict[str, set[str]]) -> None:
    assert failed[fault] >= FAULTS[fault]


def test_the_suite_passes_on_a_sound_one(failed: dict[str, set[str]]) -> None:
    assert failed["Sound"] == set()
    assert set(failed) == {*FAULTS, "Sound"}
