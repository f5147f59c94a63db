"""Which engine the shared options mean. Nothing is loaded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qwen3_ascend_retrievers import LocalEngine, RemoteEngine, VLLMEngine
from qwen3_ascend_retrievers.cli.options import EngineOptions
from qwen3_ascend_retrievers.errors import InvalidInputError
from support.cli_runs import TINY, invoke
from support.rerank_answers import rerank_only_setup
from support.rerank_server import RerankServer

KEY = "tenant-secret-abcdef"
REMOTE = ("--base-url", "http://127.0.0.1:9")


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


def made(*texts: str, **options: str) -> dict[str, object]:
    engine = EngineOptions(engine_option=list(texts), **options).make_engine()  # type: ignore[arg-type]
    assert isinstance(engine, LocalEngine | RemoteEngine | VLLMEngine)
    return engine.config()


def test_an_option_is_json_or_else_a_text() -> None:
    texts = ("timeout=2.5", "max_retries=null", "verify=ca=1.pem", "trust_env=false")
    config = made(*texts, 'tokenizer_revision="12"', base_url="http://127.0.0.1:9")
    expected = {"timeout": 2.5, "max_retries": None, "verify": "ca=1.pem", "trust_env": False}
    assert config.items() >= {**expected, "tokenizer_revision": "12"}.items()
    assert made("batch_tokens=64", model="tiny", dtype="float32")["batch_tokens"] == 64
    assert made("batch_tokens=64", model="tiny", engine="local")["batch_tokens"] == 64
    # Too deep for Python's parser, and so a text.
    with pytest.raises(InvalidInputError, match="timeout must be a number"):
        made("timeout=" + "[" * 100_000, base_url="http://127.0.0.1:9")


@pytest.mark.usefixtures("_vllm")
def test_the_named_engine_has_the_option() -> None:
    assert made("tensor_parallel_size=2", model="a/b")["tensor_parallel_size"] == 2
    assert made("batch_tokens=64", model="a/b", engine="local")["batch_tokens"] == 64
    with pytest.raises(InvalidInputError, match="batch_tokens is not for VLLMEngine but for Local"):
        made("batch_tokens=64", model="a/b")


WRONG_OPTIONS = [
    ((*REMOTE, "timeut=3"), "RemoteEngine has no option timeut. Did you mean timeout?"),
    ((*REMOTE, "batch_tokens=3"), "batch_tokens is not for RemoteEngine but for LocalEngine"),
    ((*REMOTE, "timeout=0"), "timeout must be a number of seconds above 0, not 0"),
    ((*REMOTE, "device=cpu"), "--engine-option device: use --device."),
    ((*REMOTE, f"api_key={KEY}"), "--engine-option api_key: use --api-key-file."),
    ((*REMOTE, f"headers={KEY}"), "headers must be a mapping of str to str"),
    ((*REMOTE, f"header={KEY}"), "Did you mean headers?"),
    ((*REMOTE, f'headers={{"X": "{KEY} é"}}'), "The header 'X' holds letters"),
    ((*REMOTE, f"Authorization: Bearer {KEY}=="), "such as max_retries=3"),
    ((*REMOTE, KEY), "such as max_retries=3"),
    ((*TINY, f"headers={KEY}"), "headers is not for LocalEngine but for RemoteEngine"),
    ((*TINY, "batch_tokens=3", "--engine-option", "batch_tokens=4"), "batch_tokens is there twice"),
]


@pytest.mark.parametrize(("words", "message"), WRONG_OPTIONS, ids=lambda words: str(words)[-30:])
@pytest.mark.parametrize("command", [("rank", "cat", "-"), ("explain", "cat", "-"), ("doctor",)])
def test_a_wrong_option_is_wrong_input(
    command: tuple[str, ...], words: tuple[str, ...], message: str
) -> None:
    result = invoke(*command, *words[:2], "--engine-option", *words[2:], stdin="a cat")
    assert result.exit_code == 2
    assert message in result.stderr
    assert KEY not in result.output


def test_headers_and_options_reach_the_server() -> None:
    words = ["rank", "cat", "-", "--engine-option=batch_size=1"]
    words += ["--engine-option", f'headers={{"X-Tenant": "{KEY}"}}']
    with RerankServer(rerank_only_setup()) as server:
        result = invoke(*words, "--base-url", server.url, stdin="a cat\na dog")
    assert result.exit_code == 0, result.output
    assert {request.headers["x-tenant"] for request in server.requests} == {KEY}
    requests = [request for request in server.requests if request.path == "/v1/rerank"]
    batches = [request.body["documents"] for request in requests]
    assert [len(batch) for batch in batches if re.search("a cat|a dog", str(batch))] == [1, 1]
    assert KEY not in result.output
