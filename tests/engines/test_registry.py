"""The choice of an engine, its reason in the log, and what is missing."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from qwen3_ascend_retrievers import LocalEngine, RemoteEngine, VLLMEngine
from qwen3_ascend_retrievers.engines.registry import ENGINES, choose_engine
from qwen3_ascend_retrievers.errors import InvalidInputError, MissingDependencyError

KEY = "sk-very-secret"


def test_a_server() -> None:
    engine = choose_engine("served", "http://127.0.0.1:9", SecretStr(KEY))
    assert isinstance(engine, RemoteEngine)
    config = engine.config()
    assert (config["base_url"], config["model"]) == ("http://127.0.0.1:9", "served")
    assert KEY not in repr(engine)
    engine.close()


@pytest.mark.parametrize(
    ("model", "name"), [("tiny", "tiny"), ("a/b", "a/b"), (None, "Qwen/Qwen3-Reranker-0.6B")]
)
def test_a_model_in_this_process(model: str | None, name: str) -> None:
    engine = choose_engine(model, max_length=512)
    assert isinstance(engine, LocalEngine)
    assert (engine.config()["model"], engine.config()["max_length"]) == (name, 512)


def test_vllm_comes_first_but_for_tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A folder of that name on the path is enough to be found; nothing is imported by a choice.
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    engine = choose_engine("a/b", max_length=512, dtype="float16")
    assert isinstance(engine, VLLMEngine)
    assert (engine.config()["model"], engine.config()["max_length"]) == ("a/b", 512)
    assert engine.config()["dtype"] == "float16"
    tiny = choose_engine("tiny", dtype="float32")
    assert isinstance(tiny, LocalEngine)
    assert tiny.config()["dtype"] == "float32"


@pytest.mark.parametrize("missing", ["torch", "transformers"])
@pytest.mark.parametrize("model", ["tiny", None])
def test_nothing_to_run_a_model_with(
    missing: str, model: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingDependencyError) as caught:
        choose_engine(model)
    assert "pip install 'qwen3-ascend-retrievers[local]'" in str(caught.value)
    assert "base_url" in str(caught.value)


def lines_of(caplog: pytest.LogCaptureFixture, *arguments: Any) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="qwen3_ascend_retrievers"):
        choose_engine(*arguments)
    return [record.getMessage() for record in caplog.records]


def test_each_choice_is_logged_once_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    # Names of this test only: what was logged is remembered for the whole process.
    (line,) = lines_of(caplog, "logged/once")
    assert "LocalEngine" in line
    assert "logged/once" in line
    assert "no base_url is set, and torch and transformers can be imported" in line
    assert lines_of(caplog, "logged/once") == []
    (line,) = lines_of(caplog, "logged/once", "http://127.0.0.1:9", SecretStr(KEY))
    assert "RemoteEngine" in line
    assert "base_url is set" in line
    assert KEY not in line
    assert lines_of(caplog, "logged/once", "http://127.0.0.1:9", SecretStr(KEY)) == []


def test_an_option_of_another_engine_is_named() -> None:
    ENGINES["local"].check_options(["device", "dtype", "max_length"])
    with pytest.raises(InvalidInputError, match="device is not for the engine vllm: leave it out"):
        ENGINES["vllm"].check_options(["dtype", "device"])
