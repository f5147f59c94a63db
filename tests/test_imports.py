"""What an import loads, what a missing library says, and which names are public."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from qwen3_ascend_retrievers.engines.registry import PUBLIC, EngineRow

HEAVY = ("torch", "transformers", "vllm", "tokenizers", "tqdm", "opentelemetry")
LANGCHAIN = ("langchain", "langchain_core", "langchain_classic")
LLAMA_INDEX = ("llama_index",)

RERANK = "\nassert Qwen3Rerank(engine=FakeEngine()).rerank(['a dog', 'a cat'], 'cat')[0]['index']"
LIGHT = {
    "import qwen3_ascend_retrievers": HEAVY + LANGCHAIN + LLAMA_INDEX,
    "from qwen3_ascend_retrievers import Reranker": HEAVY + LANGCHAIN + LLAMA_INDEX,
    "from qwen3_ascend_retrievers import RemoteEngine\nRemoteEngine('http://127.0.0.1:9')": (
        HEAVY + LANGCHAIN + LLAMA_INDEX
    ),
    "import qwen3_ascend_retrievers.testing": HEAVY + LANGCHAIN + LLAMA_INDEX + ("pytest",),
    "from qwen3_ascend_retrievers.testing import FakeEngine\n"
    "from qwen3_ascend_retrievers.langchain import Qwen3Rerank\n"
    "Qwen3Rerank(base_url='http://127.0.0.1:9')._engine()" + RERANK: HEAVY + LLAMA_INDEX,
    "from qwen3_ascend_retrievers.testing import FakeEngine\n"
    "from qwen3_ascend_retrievers.llama_index import Qwen3Rerank\n"
    "Qwen3Rerank(base_url='http://127.0.0.1:9')._engine()" + RERANK: (
        # llama-index-core itself imports tqdm.
        tuple(name for name in HEAVY if name != "tqdm") + LANGCHAIN
    ),
    "from qwen3_ascend_retrievers.testing import CompressorConformance": HEAVY + LLAMA_INDEX,
    "from qwen3_ascend_retrievers.testing import PostprocessorConformance": LANGCHAIN,
}


def run(code: str, blocked: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """`code` in an interpreter of its own in which `blocked` cannot be imported."""
    blocking = f"import sys\nsys.modules.update(dict.fromkeys({blocked!r}))\n"
    command = [sys.executable, "-c", blocking + code]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("code", LIGHT)
def test_light_import(code: str) -> None:
    done = run(code, LIGHT[code])
    assert done.returncode == 0, done.stderr


MISSING = {
    "import qwen3_ascend_retrievers.langchain": (
        LANGCHAIN,
        "pip install 'qwen3-ascend-retrievers[langchain]'",
    ),
    "from qwen3_ascend_retrievers.testing import CompressorConformance": (
        LANGCHAIN,
        "pip install 'qwen3-ascend-retrievers[langchain]'",
    ),
    "import qwen3_ascend_retrievers.llama_index": (
        LLAMA_INDEX,
        "pip install 'qwen3-ascend-retrievers[llama-index]'",
    ),
    "from qwen3_ascend_retrievers.testing import PostprocessorConformance": (
        LLAMA_INDEX,
        "pip install 'qwen3-ascend-retrievers[llama-index]'",
    ),
}


@pytest.mark.parametrize("code", MISSING)
def test_a_missing_framework_is_named_with_its_line(code: str) -> None:
    blocked, line = MISSING[code]
    done = run(code, blocked)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("qwen3_ascend_retrievers.errors.MissingDependencyError:")
    assert last.endswith(line)


NAMES = {
    "qwen3_ascend_retrievers": [
        "CachedEngine",
        "Call",
        "CascadeEngine",
        "DEFAULT_INSTRUCTION",
        "Engine",
        "EngineFacts",
        "INSTRUCTIONS",
        "LocalEngine",
        "Plan",
        "RankedDocument",
        "Ranking",
        "RemoteEngine",
        "Reranker",
        "Score",
        "VLLMEngine",
    ],
    "qwen3_ascend_retrievers.langchain": ["Qwen3Rerank"],
    "qwen3_ascend_retrievers.llama_index": ["Qwen3Rerank"],
    "qwen3_ascend_retrievers.testing": [
        "CompressorConformance",
        "FakeEngine",
        "PostprocessorConformance",
    ],
}


@pytest.mark.parametrize("module", NAMES)
def test_exported_names(module: str) -> None:
    imported = importlib.import_module(module)
    assert sorted(imported.__all__) == NAMES[module]
    assert set(NAMES[module]) <= set(dir(imported))
    for name in NAMES[module]:
        assert getattr(imported, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = imported.no_such_name


@pytest.mark.parametrize("row", PUBLIC, ids=[row.tag for row in PUBLIC])
def test_an_engine_with_a_row_is_public(row: EngineRow) -> None:
    engine_class = getattr(importlib.import_module("qwen3_ascend_retrievers"), row.class_name)
    assert engine_class.tag == row.tag
