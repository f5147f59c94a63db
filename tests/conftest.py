"""What holds for every test: no hub, no stray key, Hypothesis without a clock; its models."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

pytest_plugins = ["support.model_folders"]

# Set before any test module imports a library that reads them once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("QWEN3_RERANK_ALLOW_TINY", "1")
# On a loaded machine two OpenMP threads of a small model wait for each other most of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A loaded machine misses any deadline; and what CI finds must be found again by the next run.
settings.register_profile("desk", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")


@pytest.fixture(autouse=True, scope="session")
def no_api_key() -> Iterator[None]:
    """The developer's own key must neither reach a test's server nor decide a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("QWEN3_RERANK_API_KEY", raising=False)
        yield
