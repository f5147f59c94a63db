"""Engines for real servers with the bundled model; the folder of their files.

Not here, as of 2026: Text Embeddings Inference is Rust and in no package registry of Python;
SGLang's wheels hold kernels for CUDA only; llama-cpp-python's server has no route of reranking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from qwen3_ascend_retrievers import RemoteEngine

Connect = Callable[..., RemoteEngine]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the servers' logs and of the models that are written for them."""
    return tmp_path_factory.mktemp("servers")


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes engines: `connect(url, **settings)`; all are closed in the end."""
    with ExitStack() as stack:

        def make(base_url: str, **settings: Any) -> RemoteEngine:
            # A loaded machine needs its time for long prompts.
            settings = {"timeout": 120, "deadline": 240} | settings
            return stack.enter_context(RemoteEngine(base_url, **settings))

        yield make
