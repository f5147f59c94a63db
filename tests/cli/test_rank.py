"""`qwen3-rerank rank`, by the installed script and in this process, with the bundled model."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from qwen3_ascend_retrievers import LocalEngine, Reranker
from qwen3_ascend_retrievers.core.prompt import prompt
from support.cli_runs import TINY, invoke, run
from support.rerank_answers import tokens_of
from support.rerank_server import RerankServer
from support.terminal import Terminal

QUERY = "What is the capital of China?"
DOCUMENTS = ["Gravity is a force.", "The capital of China is Beijing.", "Bread needs flour."]
# The table's row of a document: its rank, and its rank before.
ROW = r"(?m)^ *(\d+) +\d+ [↑↓=]"


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "docs.jsonl"
    rows = [{"_id": f"d{at}", "body": text} for at, text in enumerate(DOCUMENTS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_script_ranks_piped_lines_in_a_table() -> None:
    result = run("rank", QUERY, *TINY, stdin="\n".join(DOCUMENTS))
    assert result.returncode == 0, result.stderr
    first = result.stdout.splitlines()[1].split()
    assert first[:3] == ["1", "2", "↑"]
    assert "stdin:2  The capital of China is Beijing." in result.stdout
    assert "3 documents; " in result.stderr
    assert "tiny by LocalEngine" in result.stderr


@pytest.mark.parametrize("command", ["rank", "explain"])
def test_a_terminal_shows_a_bar(command: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Terminal(command, QUERY, *TINY, out=out, stdin="\n".join(DOCUMENTS)) as terminal:
        assert terminal.finish() == 0, terminal.shown
    assert re.search(r"reranking: .* 0/3 ", terminal.shown)
    assert "The capital of China is Beijing." in out.read_text()
    assert "reranking" not in out.read_text()


def many_lines(count: int) -> str:
    texts = [f"{at} The capital of China is Beijing, and so on. " * 6 for at in range(count)]
    return "\n".join(texts)


@pytest.mark.parametrize("size", [(24, 80), (30, 120), (12, 80)])
def test_a_terminal_shows_the_best_ten_in_view_and_says_how_many_more(
    size: tuple[int, int],
) -> None:
    with Terminal("rank", QUERY, *TINY, out=None, stdin=many_lines(13), size=size) as terminal:
        assert terminal.finish() == 0, terminal.shown
    table = terminal.text().partition("rank ")[2]
    assert re.findall(ROW, table) == [str(at) for at in range(1, 11)]
    assert table.count("…") == 10
    assert "3 more documents; --top-n 13 shows all." in table
    assert "\n13 documents; " in table
    # The shell's next line is the last on the screen.
    assert len(table.splitlines()) <= max(size[0] - 1, 13)


def test_a_terminal_shows_as_many_as_were_asked_for_and_a_pipe_everything(tmp_path: Path) -> None:
    arguments = ("rank", QUERY, *TINY)
    with Terminal(*arguments, "-n", "12", out=None, stdin=many_lines(13)) as terminal:
        assert terminal.finish() == 0, terminal.shown
    assert len(re.findall(ROW, terminal.text())) == 12
    assert "13 documents, 1 not shown; " in terminal.text()
    assert "more document" not in terminal.shown
    out = tmp_path / "out"
    with Terminal(*arguments, out=out, stdin=many_lines(13)) as terminal:
        assert terminal.finish() == 0, terminal.shown
    assert len(re.findall(ROW, out.read_text())) == 13
    assert "more document" not in terminal.shown
    assert " 13 documents; " in terminal.text()
    with Terminal(*arguments, "--json", out=None, stdin=many_lines(13)) as terminal:
        assert terminal.finish() == 0, terminal.shown
    assert len(json.loads(terminal.shown[terminal.shown.index("{") :])["results"]) == 13


def test_one_document_is_no_plural() -> None:
    assert "1 document; " in invoke("rank", QUERY, *TINY, stdin="a\n").stderr


def test_a_server_s_tokens_are_marked_or_counted_here() -> None:
    with RerankServer() as server:
        arguments = ("rank", QUERY, "-", "--base-url", server.url)
        plain = invoke(*arguments, stdin="\n".join(DOCUMENTS))
        counted = invoke(*arguments, "--tokenizer", "tiny", "--json", stdin="\n".join(DOCUMENTS))
    first = plain.stdout.splitlines()[1].split()
    assert first[5:7] == ["?", "no"], plain.stdout
    for document in json.loads(counted.stdout)["results"]:
        assert document["tokens"] == len(tokens_of(prompt(QUERY, document["text"])))
    help_text = " ".join(invoke("rank", "--help").stdout.split())
    assert "Tokens are ? where nobody counted" in help_text
    assert "With --tokenizer they are counted here." in help_text


def test_json_holds_the_facade_s_ranking(lines: Path) -> None:
    result = invoke("rank", QUERY, str(lines), "--field", "body", "--json", "-n", "2", *TINY)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    with Reranker(LocalEngine("tiny")) as reranker:
        expected = reranker.rank(QUERY, DOCUMENTS, 2).results
    assert [document["index"] for document in report["results"]] == [
        ranked.index for ranked in expected
    ]
    assert [document["score"] for document in report["results"]] == pytest.approx(
        [ranked.score for ranked in expected], abs=1e-5
    )
    assert report["results"][0] | {"score": 0, "logit": 0} == {
        "rank": 1,
        "previous_rank": 2,
        "index": 1,
        "name": "d1",
        "score": 0,
        "logit": 0,
        "tokens": expected[0].tokens,
        "truncated": False,
        "cut": "no",
        "span": [0, 32],
        "windows": 1,
        "text": DOCUMENTS[1],
    }


def test_threshold_instruction_and_cut_show(lines: Path) -> None:
    long = " ".join(DOCUMENTS * 60)
    arguments = ("rank", QUERY, "-", "--max-length", "120", "--threshold", "0", *TINY)
    cut = invoke(*arguments, stdin=long)
    assert " exact " in cut.stdout
    windows = invoke(*arguments, "--overflow", "window", "--json", stdin=long)
    assert windows.exit_code == 2, "64 tokens of overlap leave no room here"
    assert "window_overlap" in windows.stderr
    arguments = ("rank", QUERY, str(lines), "--field", "body", "--json", *TINY)
    plain = json.loads(invoke(*arguments).stdout)
    other = json.loads(invoke(*arguments, "-i", "Find recipes for bread").stdout)
    assert plain["results"][0]["logit"] != other["results"][0]["logit"]
    none = json.loads(invoke(*arguments, "--threshold", "1").stdout)
    assert none["results"] == []


def test_windows_are_named_in_the_table() -> None:
    long = " ".join(["Bread needs flour."] * 100 + [DOCUMENTS[1]])
    arguments = ("rank", QUERY, "-", "--max-length", "300", "--overflow", "window", *TINY)
    result = invoke(*arguments, stdin=long)
    assert "window " in result.stdout


def test_a_folder_is_split_into_passages(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(
        "# Cities\n\nThe capital of China is Beijing.\n\n# Food\n\nBread.\n"
    )
    (tmp_path / "b.bin").write_bytes(b"\xff\xfe")
    result = invoke("rank", QUERY, str(tmp_path), "--json", *TINY)
    names = {passage["name"]: passage["text"] for passage in json.loads(result.stdout)["results"]}
    assert names == {
        f"{tmp_path}/a.md:1": "# Cities\n\nThe capital of China is Beijing.",
        f"{tmp_path}/a.md:5": "# Food\n\nBread.",
    }


def test_a_document_cannot_steer_the_terminal() -> None:
    result = invoke("rank", QUERY, *TINY, stdin="red \x1b[31m and \u202e back [bold]b[/bold]\n")
    assert "\x1b" not in result.stdout
    assert "\u202e" not in result.stdout
    assert "[bold]b[/bold]" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nowhere.txt",), 2, "nowhere.txt cannot be read"),
        (("-", "--top-n", "0"), 2, "top_n is 0"),
        (("-", "--threshold", "2"), 2, "score_threshold"),
        (("-", "--chunk-size", "0"), 2, "--chunk-size must be"),
        (("-", "--engine", "fake"), 2, "--engine must be one of"),
        (("-", "--engine", "remote"), 2, "--engine remote and --base-url go together"),
        (("-", "--tokenizer", "tiny"), 2, "--tokenizer is for a server: add --base-url"),
        (("-", "--base-url", "http://127.0.0.1:9", "--device", "cpu"), 2, "--device is for"),
        (("-", "--base-url", "http://u:p@127.0.0.1:9"), 2, "base_url"),
        (("-", "--model", "./no-such-folder"), 1, "error (ModelError): There is no model folder"),
    ],
)
def test_errors_name_the_next_step(
    arguments: tuple[str, ...], code: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = () if "--base-url" in arguments or "--model" in arguments else TINY
    result = invoke("rank", QUERY, *arguments, *model, stdin="a\n")
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.output


def test_nothing_piped_in_and_a_blank_query() -> None:
    result = invoke("rank", QUERY, *TINY)
    assert (result.exit_code, "There is no document" in result.stderr) == (2, True)
    blank = invoke("rank", " ", *TINY, stdin="a\n")
    assert (blank.exit_code, "query is empty" in blank.stderr) == (2, True)


def test_the_key_comes_from_a_file_and_is_shown_nowhere(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-very-secret\n")
    server = ("--base-url", "http://127.0.0.1:9", "--api-key-file", str(key))
    result = invoke("rank", QUERY, "-", *server, stdin="a\n")
    assert result.exit_code == 1
    assert "sk-very-secret" not in result.output
    key.write_text("\n")
    assert "is empty" in invoke("rank", QUERY, "-", *server, stdin="a\n").stderr
