"""The choice of an engine, its reason in the log, and what is missing."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from qwen3_ascend_retrievers import LocalEngine, RemoteEngine, VLLMEngine
from qwen3_ascend_retrievers.engines.registry import ENGINES, PUBLIC, check_options, choose_engine
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
    engine = choose_engine("a/b", max_length=512, options={"dtype": "float16"})
    assert isinstance(engine, VLLMEngine)
    assert (engine.config()["model"], engine.config()["max_length"]) == ("a/b", 512)
    assert engine.config()["dtype"] == "float16"
    tiny = choose_engine("tiny", options={"dtype": "float32"})
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


def test_the_constructor_says_which_options_there_are() -> None:
    options = ENGINES["local"].options()
    assert options == ["device", "dtype", "batch_tokens", "revision"]
    ENGINES["local"].check_options(options)
    assert {"timeout", "headers"} < set(ENGINES["remote"].options())
    with pytest.raises(InvalidInputError, match="device is not for VLLMEngine but for LocalEngine"):
        ENGINES["vllm"].check_options(["dtype", "device"])
    with pytest.raises(InvalidInputError, match=r"no option dtyp\. Did you mean dtype\? It has: "):
        ENGINES["vllm"].check_options(["dtyp"])
    assert [row.tag for row in PUBLIC if not set(row.secrets) <= {"api_key", *row.options()}] == []


@pytest.mark.parametrize("arguments", [("tiny",), (None, "http://127.0.0.1:9")], ids=str)
def test_options_are_checked_by_the_engine_that_is_chosen(arguments: Any) -> None:
    right = {"timeout": 5} if len(arguments) > 1 else {"batch_tokens": 64}
    check_options(arguments[0], arguments[-1] if len(arguments) > 1 else None, right)
    assert choose_engine(*arguments, options=right).config().items() >= right.items()  # type: ignore[attr-defined]
    for name in right:
        with pytest.raises(InvalidInputError, match=name):
            choose_engine(*arguments, options={name: 0})


def test_options_are_not_checked_where_no_engine_takes_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="qwen3_ascend_retrievers"):
        check_options("checked/only", None, {"batch_tokens": 64})
        monkeypatch.setitem(sys.modules, "torch", None)
        check_options("tiny", None, {"no_such_name": 3})
    assert caplog.records == []
