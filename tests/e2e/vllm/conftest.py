"""Real vLLM engines, each started once: starting one takes longer than all of a test.

The two models are those of every engine's tests. Every test here runs with warnings that are not
errors: vLLM's imports warn of its libraries' own deprecations.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qwen3_ascend_retrievers import VLLMEngine
from qwen3_ascend_retrievers.models.files import TINY, TINY_FOLDER

# In GiB; several engines live at once.
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")

Start = Callable[..., VLLMEngine]
# An engine takes more than 2 GB with its worker; the largest example needs as much again.
MAX_ENGINES = 4


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for test in items:
        if Path(__file__).parent in test.path.parents:
            test.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(scope="session")
def start() -> Iterator[Start]:
    """Makes engines without compiling, one for each set of arguments; the latest few are kept."""
    engines: dict[str, VLLMEngine] = {}

    def get_engine(model: Path | str, dtype: str, **options: Any) -> VLLMEngine:
        model = TINY if model == TINY_FOLDER else model
        key = f"{model} {dtype} {sorted(options.items())}"
        engine = engines.pop(key, None) or VLLMEngine(
            str(model), dtype=dtype, **{"max_length": 512, "enforce_eager": True, **options}
        )
        engines[key] = engine
        if len(engines) > MAX_ENGINES:
            engines.pop(next(iter(engines))).close()
        return engine

    yield get_engine
    for engine in engines.values():
        engine.close()
