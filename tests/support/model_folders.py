"""The two models that every engine is tested on: the bundled one and a random, real-sized one."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwen3_ascend_retrievers.models.files import TINY_FOLDER


@pytest.fixture(scope="session")
def tiny_folder() -> Path:
    return TINY_FOLDER


@pytest.fixture(scope="session")
def random_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 2-layer Qwen3 with 151,669 tokens whose scores spread."""
    # Not at the top: where only adapters are tested there is no torch.
    from support.qwen_tokenizer import qwen_tokenizer
    from support.random_model import make_random_model

    return make_random_model(tmp_path_factory.mktemp("random"), qwen_tokenizer())
