"""`qwen3-rerank explain`, by the installed script and in this process, with the bundled model."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from qwen3_ascend_retrievers.core.prompt import DEFAULT_INSTRUCTION, SUFFIX, prompt
from support.cli_runs import TINY, invoke, run
from support.rerank_answers import Setup, rerank_only_setup, tokens_of
from support.rerank_server import RerankServer
from support.terminal import Terminal

QUERY = "What is the capital of China?"
STDIN = "Gravity <|im_end|> is a force.\nThe capital of China is Beijing.\n"


def test_the_script_shows_prompts_and_writes_the_report(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    result = run("explain", QUERY, *TINY, "--html", str(page), "--show", "2", stdin=STDIN)
    assert result.returncode == 0, result.stderr
    assert "<Document>: The capital of China is Beijing.<|im_end|>⏎" in result.stdout
    assert "<Document>: Gravity < |im_end|> is a force.<|im_end|>⏎" in result.stdout
    assert "control tokens were neutralised in: document" in result.stdout
    assert "tokens: 91 = system 41 + instruction" in result.stdout
    assert "1. stdin:2  was 2 ↑" in result.stdout
    assert f"The report is in {page}" in result.stderr
    assert page.read_text("utf-8").startswith("<!doctype html>")


def test_json_compares_two_instructions() -> None:
    more = ("--versus-instruction", "Find food", "--json", "--max-length", "100")
    result = invoke("explain", QUERY, *TINY, *more, stdin=STDIN + "bread " * 200)
    assert result.exit_code == 0, result.output
    first, second = json.loads(result.stdout)
    assert second["instruction"] == "Find food"
    best = first["documents"][0]
    assert (best["name"], best["rank"], best["previous_rank"]) == ("stdin:2", 1, 2)
    assert best["logit"] != second["documents"][0]["logit"]
    assert best["parts"][-1]["text"] == SUFFIX
    cut = next(document for document in first["documents"] if document["name"] == "stdin:3")
    assert cut["cut"] == "exact"
    assert cut["tokens"] == sum(part["tokens"] for part in cut["parts"]) <= 100


def test_two_instructions_orders_and_scores_are_compared() -> None:
    second = "Given a name of a force, find what it is"
    arguments = ("explain", QUERY, *TINY, "--show", "0", "--versus-instruction", second)
    result = invoke(*arguments, stdin=STDIN + "Shanghai is a city of China.\n")
    assert result.exit_code == 0, result.output
    reports = json.loads(
        invoke(*arguments, "--json", stdin=STDIN + "Shanghai is a city of China.\n").stdout
    )
    old, new = ({row["name"]: row for row in report["documents"]} for report in reports)
    heading, *rows = result.stdout.partition("The two orders compared\n")[2].splitlines()[1:]
    assert heading == f"now: {second}"
    assert rows[0].split() == ["now", "was", "score", "now", "score", "was", "document"]
    for row, (name, document) in zip(rows[1:], new.items(), strict=True):
        now, was, _, _, score_now, score_was, shown_name, *_ = row.split()
        assert (int(now), int(was)) == (document["rank"], old[name]["rank"])
        assert float(score_now) == pytest.approx(document["score"], abs=1e-4)
        assert float(score_was) == pytest.approx(old[name]["score"], abs=1e-4)
        assert shown_name == name
    assert "was: Given a web search query" in result.stdout
    assert "compared" not in invoke(*arguments[:-2], stdin=STDIN).stdout


def test_a_terminal_compares_the_best_ten() -> None:
    more = ("--show", "0", "--versus-instruction", "Find food")
    stdin = "".join(f"{at} Bread needs flour.\n" for at in range(12))
    with Terminal("explain", QUERY, *TINY, *more, out=None, stdin=stdin) as terminal:
        assert terminal.finish() == 0, terminal.shown
    table = terminal.text().partition("The two orders compared")[2]
    assert len(re.findall(r"^ +\d+ +\d+ [↑↓=]", table, re.MULTILINE)) == 10
    assert "2 more documents; --json has all." in table


def test_what_a_server_refused_has_no_score() -> None:
    setup = rerank_only_setup()
    setup.refuses = lambda text: "zebra" in text
    with RerankServer(setup) as server:
        arguments = ("explain", QUERY, "--base-url", server.url, "--show", "3")
        result = invoke(*arguments, stdin=f"{STDIN}a zebra\n")
    assert result.exit_code == 0, result.output
    assert "\nnot scored   logit ?\n" in result.stdout


def test_an_ordinary_server_s_tokens_are_counted() -> None:
    with RerankServer() as server:
        arguments = ("explain", QUERY, "--base-url", server.url)
        text = invoke(*arguments, stdin=STDIN)
        result = invoke(*arguments, "--json", stdin=STDIN)
    assert text.exit_code == result.exit_code == 0, text.output + result.output
    assert "tokens: 91 = system 41 + instruction" in text.stdout
    (explanation,) = json.loads(result.stdout)
    assert len(explanation["documents"]) == 2
    for document in explanation["documents"]:
        parts = document["parts"]
        whole = "".join(part["text"] for part in parts)
        assert document["tokens"] == sum(part["tokens"] for part in parts) == len(tokens_of(whole))


@pytest.mark.parametrize("counts", [True, False])
def test_what_only_the_server_found_too_long(counts: bool) -> None:
    setup = Setup(lists_models=False, has_tokenize=counts, max_model_len=200)
    long = "bread and " * 75
    with RerankServer(setup) as server:
        arguments = ("explain", QUERY, "--base-url", server.url, "--json")
        refused = invoke(*arguments, "--overflow", "error", stdin=f"bread\n{long}\n")
        cut = invoke(*arguments, stdin=f"bread\n{long}\n")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "documents[1] does not fit the server" in refused.stderr
    (document,) = (
        document
        for document in json.loads(cut.stdout)[0]["documents"]
        if document["previous_rank"] == 2
    )
    read = prompt(QUERY, long[slice(*document["span"])], DEFAULT_INSTRUCTION)
    assert "".join(part["text"] for part in document["parts"]) == read
    assert document["cut"] == "estimated"
    assert document["tokens"] == (len(tokens_of(read)) if counts else None)


def test_cuts_are_told_and_long_parts_shortened() -> None:
    result = invoke("explain", QUERY, *TINY, "--max-length", "700", stdin="bread and " * 900)
    assert "cut (exact): characters 0 to " in result.stdout
    assert " more … " in result.stdout
    windows = ("--overflow", "window", "--show", "1")
    result = invoke("explain", QUERY, *TINY, "--max-length", "700", *windows, stdin="bread " * 900)
    assert re.search(r"^window \d+ of \d+, characters \d+ to \d+ of 5400 were", result.stdout, re.M)
    ranked = invoke(
        "rank", QUERY, *TINY, "--max-length", "700", *windows[:2], "--json", stdin="bread " * 900
    )
    (document,) = json.loads(ranked.stdout)["results"]
    assert (document["truncated"], document["cut"]) == (False, "no")
    assert document["windows"] > 1


def test_wrong_input_is_refused_before_any_work(tmp_path: Path) -> None:
    for arguments, message in (
        (("--html", str(tmp_path / "no" / "x.html")), "there is no folder"),
        (("--show", "-1"), "--show must be"),
        (("--versus-instruction", " "), "instruction must be a non-empty str"),
    ):
        result = invoke("explain", QUERY, *TINY, *arguments, stdin=STDIN)
        assert (result.exit_code, message in result.stderr) == (2, True), result.output
