"""`qwen3-rerank doctor`: colours, exit codes and a report without the key."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from support.cli_runs import TINY, Result, invoke, run
from support.rerank_answers import Setup, words_in_common
from support.rerank_faults import status
from support.rerank_server import RerankServer


def test_the_script_reports_on_tiny_in_json() -> None:
    result = run("doctor", *TINY, "--max-length", "1200", "--json")
    report = json.loads(result.stdout)
    assert (report["colour"], result.returncode) == ("green", 0), report
    assert "torch" in report["versions"]
    assert (
        report["engine"]["config"] | {"dtype": "auto", "model": "tiny"}
        == (report["engine"]["config"])
    )
    names = [finding["name"] for finding in report["findings"]]
    assert names[-8:] == [
        "engine",
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


@pytest.fixture
def proof(tmp_path: Path) -> Path:
    """The proof file of this machine alone."""
    path = tmp_path / "there.json"
    path.write_text(invoke("doctor", "--json").stdout)
    return path


def server_proof(path: Path, url: str) -> Path:
    path.write_text(invoke("doctor", "--base-url", url, "--json").stdout)
    return path


def marked_names(result: Result) -> set[str]:
    return {value["name"] for value in json.loads(result.stdout)["values"] if value["marked"]}


def test_a_proof_is_compared_with_this_machine(proof: Path) -> None:
    result = invoke("doctor", "--compare", str(proof))
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0] == "there here difference"
    assert "Python green green" in lines
    assert "0 marked with !" in result.stderr


def test_two_proofs_are_compared_without_a_check(tmp_path: Path) -> None:
    """One server computes otherwise; it is gone by then."""
    files = []
    for shift in (0.0, 1.0):
        setup = Setup(
            template="exact", scorer=lambda ids, shift=shift: words_in_common(ids) + shift
        )
        with RerankServer(setup) as server:
            files.append(server_proof(tmp_path / f"{shift}.json", server.url))
    pair = ("doctor", *(word for path in files for word in ("--compare", str(path))))
    result = invoke(*pair, "--json")
    assert result.exit_code == 1, result.output
    assert "guide's pair: relevant logit" in marked_names(result)
    values = {value["name"]: value for value in json.loads(result.stdout)["values"]}
    assert values["guide's pair: relevant logit"]["difference"] == "+1"
    assert values["route"]["there"] == values["route"]["here"] == "/v1/rerank, texts"
    table = invoke(*pair)
    assert table.exit_code == 1
    assert re.search(r"^! +guide's pair: relevant logit", table.stdout, re.MULTILINE)
    assert invoke("doctor", "--compare", str(files[0]), "--compare", str(files[0])).exit_code == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--model", "tiny"), "leave the engine options out"),
        (("--engine-option", "timeout=1"), "leave the engine options out"),
        (("--compare", "FILE"), "takes one file, or two"),
    ],
)
def test_two_proofs_need_nothing_else(proof: Path, more: tuple[str, ...], message: str) -> None:
    words = [str(proof) if word == "FILE" else word for word in more]
    result = invoke("doctor", "--compare", str(proof), "--compare", str(proof), *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_a_damaged_proof_is_named_before_anything_is_checked(proof: Path) -> None:
    proof.write_text(proof.read_text()[:100])
    result = invoke("doctor", "--compare", str(proof), "--model", "tiny")
    assert (result.exit_code, result.stdout) == (2, "")
    assert str(proof) in result.stderr.replace("\n", "")
    assert "cut short" in result.stderr


def test_a_proof_steers_no_terminal(proof: Path) -> None:
    content = json.loads(proof.read_text())
    content["machine"]["python"] = "\x1b[2Jevil"
    content["versions"]["\x1b]0;title\x07"] = "1"
    proof.write_text(json.dumps(content))
    result = invoke("doctor", "--compare", str(proof))
    assert result.output.replace("\n", "").isprintable()


def test_bare_texts_are_shown_and_the_key_is_not(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-very-secret")
    setup = Setup(template="none", api_key="sk-very-secret", scorer=words_in_common)
    with RerankServer(setup) as server:
        arguments = ("--base-url", server.url, "--api-key-file", str(key))
        result = invoke("doctor", *arguments)
        report = invoke("doctor", *arguments, "--json")
    assert "✓ green  bare texts" in result.stdout
    assert "template: by this side, proven exact" in result.stdout
    assert "checks nothing" not in result.stderr
    assert "sk-very-secret" not in result.output + report.output
    engine = json.loads(report.stdout)["engine"]
    assert engine["details"]["dialect"].startswith("vllm: ")
    assert (engine["model"], engine["weights"]) == ("tiny", None)
