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
from engines.conftest import random_folder, tiny_folder

from qwen3_ascend_retrievers import VLLMEngine
from qwen3_ascend_retrievers.model_files import TINY, TINY_FOLDER

__all__ = ["random_folder", "tiny_folder"]

# In GiB; several engines live at once.
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")

Start = Callable[..., VLLMEngine]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(scope="session")
def start() -> Iterator[Start]:
    """Makes engines without compiling, one for each set of arguments, closed at the end."""
    made: dict[str, VLLMEngine] = {}

    def engine(model: Path | str, dtype: str, **options: Any) -> VLLMEngine:
        model = TINY if model == TINY_FOLDER else model
        key = f"{model} {dtype} {sorted(options.items())}"
        if key not in made:
            made[key] = VLLMEngine(
                str(model), dtype=dtype, **{"max_length": 512, "enforce_eager": True, **options}
            )
        return made[key]

    yield engine
    for one in made.values():
        one.close()
