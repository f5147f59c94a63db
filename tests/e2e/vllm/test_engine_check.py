"""The self-check of real engines: right ones pass, spoiled ones are refused, part by part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwen3_ascend_retrievers import Reranker, VLLMEngine
from qwen3_ascend_retrievers.errors import EngineError
from support.engine_processes import are_gone, engine_processes

Start = Callable[..., VLLMEngine]

SPLITS: dict[str, dict[str, Any]] = {
    "one prompt longer than a step": {
        "max_length": 1024,
        "vllm_args": {"max_num_batched_tokens": 256},
    },
    "prompts that do not fit into one step": {},
}


def test_wrong_cached_results_are_refused(tiny_folder: Path) -> None:
    before = engine_processes()
    engine = VLLMEngine(
        str(tiny_folder), "float32", 512, enforce_eager=True,
        vllm_args={"worker_cls": "support.spoiled_worker.SpoiledWorker"},
    )  # fmt: skip
    with pytest.raises(EngineError, match=r"refuses to serve.*prefix_caching=False"):
        Reranker(engine).rank("egg", ["boil"])
    assert are_gone(engine_processes() - before)
    engine.close()


@pytest.mark.parametrize("options", SPLITS.values(), ids=SPLITS)
def test_right_results_of_split_prompts_pass(
    start: Start, tiny_folder: Path, options: dict[str, Any]
) -> None:
    engine = start(tiny_folder, "float32", **options)
    engine.facts()
    assert engine.self_check == "passed"


@pytest.mark.parametrize("options", SPLITS.values(), ids=SPLITS)
def test_wrong_results_of_split_prompts_are_refused(
    tiny_folder: Path, options: dict[str, Any]
) -> None:
    before = engine_processes()
    spoiled = {"worker_cls": "support.spoiled_worker.SplitSpoiledWorker"}
    arguments = {"max_length": 512, **options}
    arguments["vllm_args"] = {**options.get("vllm_args", {}), **spoiled}
    engine = VLLMEngine(str(tiny_folder), "float32", enforce_eager=True, **arguments)
    with pytest.raises(EngineError, match=r"refuses to serve.*'enable_chunked_prefill': False"):
        Reranker(engine).rank("egg", ["boil"])
    assert are_gone(engine_processes() - before)
    engine.close()
