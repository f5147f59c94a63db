"""What tests/golden holds, as it was when the modules got their final places.

    PYTHONPATH=tests python -m support.golden_objects     writes the files that are not there yet

A file is never written again: what users have saved with a release must load in the next.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

from langchain_core.load import dumps

from qwen3_ascend_retrievers import (
    CachedEngine,
    CascadeEngine,
    LocalEngine,
    RankedDocument,
    Ranking,
    RemoteEngine,
    Reranker,
    Score,
    VLLMEngine,
    langchain,
    llama_index,
)
from qwen3_ascend_retrievers.engines.cache import MemoryStore
from qwen3_ascend_retrievers.errors import EngineError, StatusError
from qwen3_ascend_retrievers.testing import FakeEngine

GOLDEN = Path(__file__).parents[1] / "golden"

ADAPTER: dict[str, Any] = {
    "base_url": ["http://npu-1:8000", "http://npu-2:8000"],
    "model": "served",
    "top_n": 4,
    "instruction": "Find {braces}",
    "score_threshold": 0.25,
    "overflow": "window",
    "max_length": 512,
    "window_overlap": 32,
    "on_error": "keep_order",
    "diagnostics": True,
}
SCORES = {"a cat": 0.75, "a dog": 0.25}


def engines() -> dict[str, Any]:
    return {
        "local": LocalEngine("tiny", "cpu", "float32", 512, 1024, "main"),
        "remote": RemoteEngine(
            ADAPTER["base_url"],
            "served",
            template="server",
            protocol="rerank",
            timeout=5,
            deadline=20,
            max_retries=2,
            max_connections=3,
            batch_size=16,
            tokenizer="tiny",
            backoff=0.5,
            cooldown=5,
        ),
        "vllm": VLLMEngine(
            "tiny",
            "bfloat16",
            512,
            2,
            0.5,
            "main",
            enforce_eager=True,
            prefix_caching=False,
            self_check=False,
            vllm_args={"max_num_seqs": 8},
        ),
        "fake": FakeEngine(SCORES, max_length=512, model="m"),
        "cascade": CascadeEngine([FakeEngine(SCORES), LocalEngine("tiny", "cpu")], keep=3),
        "cached": CachedEngine(FakeEngine(SCORES), MemoryStore(1000), cache_namespace="v1"),
    }


def adapters() -> dict[str, Any]:
    """Of each framework one with a server and one with an engine."""
    return {
        "langchain": langchain.Qwen3Rerank(**ADAPTER, score_key="score", document_text=["title"]),
        "langchain-engine": langchain.Qwen3Rerank(engine=FakeEngine(SCORES)),
        "llama_index": llama_index.Qwen3Rerank(**ADAPTER),
        "llama_index-engine": llama_index.Qwen3Rerank(engine=FakeEngine(SCORES)),
    }


def results() -> dict[str, Any]:
    ranking = Reranker(FakeEngine(SCORES)).rank("cat", list(SCORES))
    error = EngineError("no memory")
    kept = Ranking((RankedDocument(0, "a cat", None),), status="kept_order", error=error)
    return {
        "ranking": Ranking(ranking.results, usage=ranking.usage, model="m"),
        "ranking-kept_order": kept,
        "score": Score.of_logit(1.5, kept=3),
        "error": StatusError("busy", status=503, request_id="r-1"),
    }


def write_missing() -> None:
    GOLDEN.mkdir(exist_ok=True)
    files: dict[str, bytes] = {}
    for name, value in {**engines(), **adapters(), **results()}.items():
        files[f"{name}.pickle"] = pickle.dumps(value, protocol=4)
    for name, engine in engines().items():
        files[f"{name}.json"] = json.dumps(engine.tagged_config(), indent=1).encode()
    for name, adapter in adapters().items():
        is_langchain = name.startswith("langchain")
        text = dumps(adapter) if is_langchain else json.dumps(adapter.to_dict(), indent=1)
        files[f"{name}.json"] = text.encode()
    for name, content in files.items():
        if not (GOLDEN / name).exists():
            (GOLDEN / name).write_bytes(content)


if __name__ == "__main__":
    write_missing()
