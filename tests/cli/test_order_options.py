"""--first-model, --keep, --cache, --max-documents and --combine, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.cli_runs import invoke

DOCUMENTS = [
    "Gravity attracts bodies.", "The capital of China is Beijing.", "An egg boils.",
    "China is in Asia.",
]  # fmt: skip
QUERY = "What is the capital of China?"


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = []
    for number, text in enumerate(DOCUMENTS):
        path = tmp_path / f"{number}.txt"
        path.write_text(text)
        paths.append(str(path))
    return paths


def ranked(*arguments: str) -> dict[str, Any]:
    completed = invoke("rank", QUERY, *arguments, "--model", "tiny", "--json")
    assert completed.exit_code == 0, completed.stderr
    answer: dict[str, Any] = json.loads(completed.stdout)
    return answer


def test_a_cascade(files: list[str]) -> None:
    answer = ranked(*files, "--first-model", "tiny", "--keep", "2")
    assert [result["stage"] for result in answer["results"]] == [2, 2, 1, 1]
    assert answer["results"][0]["index"] == 1
    shown = invoke("rank", QUERY, *files, "--model", "tiny", "--first-model", "tiny", "--keep", "2")
    assert "stage 1/2" in shown.stdout
    explained = invoke(
        "explain", QUERY, *files, "--model", "tiny", "--first-model", "tiny", "--keep", "1"
    )
    assert explained.stdout.count("stage 2/2") == 1
    assert explained.stdout.count("stage 1/2") == 2


def test_a_report_says_which_stage_decided(files: list[str], tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    cascade = ("--model", "tiny", "--first-model", "tiny", "--keep", "1")
    assert invoke("explain", QUERY, *files, *cascade, "--html", str(page)).exit_code == 0
    assert page.read_text().count("Decided by stage 1 of 2.") == 3


def test_a_cache(files: list[str], tmp_path: Path) -> None:
    cache = ("--cache", str(tmp_path / "cache"))
    first, again = ranked(*files, *cache), ranked(*files, *cache)
    assert (first["usage"]["cache_hits"], again["usage"]["cache_hits"]) == (0, 4)
    assert first["results"] == again["results"]
    shown = invoke("rank", QUERY, *files, "--model", "tiny", *cache)
    assert "4 of 4 scores from the cache" in shown.stderr


def test_max_documents_and_combine(files: list[str]) -> None:
    answer = ranked(*files, "--max-documents", "3", "--combine", "rrf")
    last = answer["results"][-1]
    assert (last["index"], last["score"], "fusion" in last) == (3, None, False)
    ranks = {result["index"]: result.get("fusion") for result in answer["results"]}
    assert (ranks[1]["rank"], ranks[1]["retriever_rank"]) == (1, 2)
    assert ranks[1]["score"] == pytest.approx(1 / 61 + 1 / 62)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "tiny", "--keep", "3"), "add --first-model"),
        (("--model", "tiny", "--first-model", "tiny", "--keep", "0"), "keep must be"),
        (("--model", "tiny", "--cache-namespace", "x"), "add --cache"),
        (("--model", "tiny", "--cache", ""), "its name is empty"),
        (("--model", "tiny", "--cache", "~no-such-user/c"), "cannot be a folder"),
        (("--base-url", "http://127.0.0.1:9", "--cache", "c"), "add --cache-namespace"),
        (("--model", "tiny", "--max-documents", "0"), "max_documents must be"),
    ],
)
def test_wrong_options(files: list[str], arguments: tuple[str, ...], words: str) -> None:
    completed = invoke("rank", QUERY, *files, *arguments)
    assert completed.exit_code == 2
    assert words in " ".join(completed.stderr.split())


def test_doctor_looks_at_one_engine() -> None:
    completed = invoke("doctor", "--model", "tiny", "--first-model", "tiny")
    assert completed.exit_code != 0
    assert "leave --first-model" in " ".join((completed.stderr + completed.stdout).split())
