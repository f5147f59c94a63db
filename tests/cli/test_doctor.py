"""`qwen3-rerank doctor`: colours, exit codes and a report without the key."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from support.cli_runs import TINY, invoke, run
from support.rerank_answers import Setup
from support.rerank_faults import status
from support.rerank_server import RerankServer


def test_the_script_reports_on_tiny_in_json() -> None:
    result = run("doctor", *TINY, "--max-length", "1200", "--json")
    report = json.loads(result.stdout)
    assert (report["colour"], result.returncode) == ("green", 0), report
    assert "torch" in report["versions"]
    names = [finding["name"] for finding in report["findings"]]
    assert names[-7:] == [
        "template",
        "guide's pair",
        "Chinese pair",
        "instruction",
        "prefix cache",
        "long document",
        "speed",
    ]


def test_an_unreachable_server_is_red_and_the_key_is_not_shown(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-very-secret")
    server = ("--base-url", "http://127.0.0.1:9", "--api-key-file", str(key))
    result = invoke("doctor", *server)
    assert result.exit_code == 2, result.output
    assert "✗ red    reachability" in result.stdout
    assert "→ " in result.stdout
    assert "see docs/remote.md" in result.stdout
    assert "sk-very-secret" not in result.output + invoke("doctor", *server, "--json").output


@pytest.mark.parametrize("command", ["doctor", "rank", "explain"])
def test_a_server_s_words_steer_no_terminal(command: str) -> None:
    evil = "\x1b]0;title\x07\r\n\x1b[2J\u202e\u2028"
    texts = () if command == "doctor" else ("query", "-")
    with RerankServer(Setup(model=f"m{evil}")) as server:
        named = invoke(command, *texts, "--base-url", server.url, stdin="a\nb\n")
        server.decide = lambda _: status(400, evil)
        failed = invoke(command, *texts, "--base-url", server.url, stdin="a\nb\n")
    for result in (named, failed):
        assert result.output.replace("\n", "").isprintable()
    # What was sent can be seen all the same; the report breaks its lines.
    assert "\\x1b[2J" in "".join(failed.output.split())


def test_without_a_model_only_the_machine_is_checked() -> None:
    result = invoke("doctor")
    assert "Only this machine is checked" in result.stderr
    assert "✓ green  Python" in result.stdout
    refused = invoke("doctor", "--instruction", "x")
    assert (refused.exit_code, "leave --instruction out" in refused.stderr) == (2, True)


def test_without_an_engines_library_the_machine_is_reported_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("torch", "transformers", "vllm"):
        monkeypatch.setitem(sys.modules, name, None)
    model = ("--model", "Qwen/Qwen3-Reranker-0.6B")
    result = invoke("doctor", *model, "--json")
    assert result.exit_code == 2, result.output
    report = json.loads(result.stdout)
    assert report["colour"] == "red"
    assert report["findings"][0]["name"] == "Python"
    last = report["findings"][-1]
    assert (last["name"], last["colour"]) == ("packages", "red")
    assert last["said"].endswith("Qwen3-Reranker-0.6B in this process is installed.")
    assert last["remedy"].startswith("pip install 'qwen3-ascend-retrievers[vllm]' or pip install ")
    table = invoke("doctor", *model)
    assert table.exit_code == 2
    assert "✓ green  Python" in table.stdout
    assert "✗ red    packages" in table.stdout


def test_options_that_exclude_each_other_are_wrong_input_and_no_finding() -> None:
    result = invoke("doctor", "--model", "tiny", "--engine", "remote", "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "go together" in result.stderr
