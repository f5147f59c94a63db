"""Which engine the shared options mean. Nothing is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwen3_ascend_retrievers import LocalEngine, VLLMEngine
from qwen3_ascend_retrievers.cli.options import EngineOptions


@pytest.fixture
def _vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vllm that can be found; a choice imports nothing."""
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("_vllm")
def test_a_dtype_goes_to_the_engine_that_is_installed() -> None:
    engine = EngineOptions(model="a/b", dtype="float16", max_length=512).make_engine()
    assert isinstance(engine, VLLMEngine)
    assert engine.config()["dtype"] == "float16"
    assert engine.config()["max_length"] == 512


@pytest.mark.usefixtures("_vllm")
@pytest.mark.parametrize("options", [{"model": "a/b", "device": "cpu"}, {"model": "tiny"}])
def test_a_device_and_tiny_mean_the_local_engine(options: dict[str, str]) -> None:
    engine = EngineOptions(**options, dtype="float32").make_engine()  # type: ignore[arg-type]
    assert isinstance(engine, LocalEngine)
    assert engine.config()["dtype"] == "float32"
    assert engine.config()["device"] == options.get("device", "auto")
