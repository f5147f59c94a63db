"""Every example runs as a user would run it, and says what it should."""

from __future__ import annotations

import ast
import difflib
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.errors import InvalidInputError
from qwen3_ascend_retrievers.testing import FakeEngine
from support.example_output import (
    ANY_ENGINE,
    EXAMPLES,
    FIRST,
    GUIDE,
    MIGRATE,
    OWN_ENGINE,
    PAIRS,
    in_order,
)
from support.notebook_runs import numbers, words
from support.rerank_answers import rerank_only_setup
from support.rerank_server import RerankServer

ROOT = Path(__file__).parent.parent

# Generous, for a loaded machine; each takes a few seconds.
SECONDS = 300

SAYS = {**ANY_ENGINE, **OWN_ENGINE}
# Modules that an example imports.
PARTS = {"language_reference", "questions", "quickstart_output"}
# Run where vLLM and Ray are, by tests/e2e/vllm/test_examples.py and tests/e2e/ray/test_example.py.
ELSEWHERE = {"ray_parquet", "vllm_both_frameworks"}


def run(script: Path, *arguments: str) -> str:
    """What a script prints, in an environment without the caller's PYTHONPATH."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_run_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*SAYS, *PARTS, *ELSEWHERE}


def test_every_pair_is_here() -> None:
    names = {f"{pair}_{side}" for pair in PAIRS + GUIDE for side in ("before", "after")}
    assert {path.stem for path in MIGRATE.glob("*.py")} == names


@pytest.mark.parametrize("name", sorted(SAYS.keys() - {"quickstart"}))
def test_an_example_says_what_it_should(name: str) -> None:
    with RerankServer(rerank_only_setup()) as server:
        arguments = [server.url] if name.endswith("_remote") else []
        printed = run(EXAMPLES / f"{name}.py", *arguments)
    assert in_order(printed, SAYS[name]), printed


def test_the_demo_prints_what_the_readme_shows_of_it() -> None:
    printed = run(EXAMPLES / "quickstart.py")
    assert in_order(printed, SAYS["quickstart"]), printed
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (excerpt,) = re.findall(r"^```text\n(BM25  tiny  question\n.*?)^```$", readme, re.M | re.S)
    lines = printed.splitlines()
    start = lines.index("BM25  tiny  question")
    table = "\n".join(lines[start : start + excerpt.count("\n")])
    assert words(table) == words(excerpt)
    # Each version of Python has a slightly different language reference: places, yet no changes.
    assert numbers(table) == pytest.approx(numbers(excerpt), abs=3)
    assert _changes(table) == _changes(excerpt)


@pytest.mark.parametrize("pair", PAIRS)
def test_a_swap_changes_at_most_three_lines(pair: str) -> None:
    before, after = (_lines(f"{pair}_{side}") for side in ("before", "after"))
    changed = [line for line in difflib.ndiff(before, after) if line[0] in "+-"]
    assert 0 < sum(line[0] == "-" for line in changed) <= 3, changed
    assert 0 < sum(line[0] == "+" for line in changed) <= 3, changed


@pytest.mark.parametrize("pair", PAIRS)
def test_a_swap_is_written_in_the_docs(pair: str) -> None:
    before, after = (_lines(f"{pair}_{side}") for side in ("before", "after"))
    changed = [line for line in difflib.ndiff(before, after) if line[0] in "+-" and line[2:]]
    told = (ROOT / "docs" / "migrate.md").read_text(encoding="utf-8").splitlines()
    assert [line[0] + line[2:] for line in changed if line[0] + line[2:] not in told] == []


def test_the_scripts_before_a_swap_import_what_exists() -> None:
    checks = []
    for pair in PAIRS:
        tree = ast.parse((MIGRATE / f"{pair}_before.py").read_text(encoding="utf-8"))
        compile(tree, f"{pair}_before.py", "exec")
        imports = [ast.unparse(node) for node in tree.body if isinstance(node, ast.ImportFrom)]
        assert imports
        checks += imports
    # In a process of its own: those packages may warn while they are imported.
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(checks)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("pair", PAIRS)
def test_the_script_after_a_swap_puts_the_answer_first(
    pair: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runpy.run_path(str(MIGRATE / f"{pair}_after.py"), run_name="__main__")
    first = capsys.readouterr().out.splitlines()[0]
    assert first.endswith(FIRST)


@pytest.mark.parametrize("script", GUIDE)
def test_the_guide_s_texts_are_refused_until_they_are_bare(script: str) -> None:
    source = (MIGRATE / f"{script}_before.py").read_text(encoding="utf-8")
    compile(source, f"{script}_before.py", "exec")
    values: dict[str, Any] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and not isinstance(node.value, ast.Call):
            exec(ast.unparse(node), values)
    query = f"{values['PREFIX']}<Instruct>: {values['TASK']}\n<Query>: {values['query']}\n"
    documents = [f"<Document>: {document}{values['SUFFIX']}" for document in values["documents"]]
    reranker = Reranker(FakeEngine())
    with pytest.raises(InvalidInputError, match="Pass the bare query"):
        reranker.rank(query, values["documents"])
    with pytest.raises(InvalidInputError, match="Pass the bare documents"):
        reranker.rank(values["query"], documents)
    assert reranker.rank(values["query"], values["documents"]).results[0].document == FIRST


def test_the_served_script_after_the_guide_puts_the_answer_first() -> None:
    with RerankServer(rerank_only_setup()) as server:
        printed = run(MIGRATE / "guide_served_after.py", server.url)
    assert printed.splitlines()[0].endswith(FIRST)


def _changes(rows: str) -> list[str]:
    """For each row of the demo's last table: whether the answer's place is better."""
    places = [line.split()[:2] for line in rows.splitlines()[1:]]
    return [
        "better" if int(after) < int(before) else "worse" if int(after) > int(before) else "same"
        for before, after in places
    ]


def _lines(name: str) -> list[str]:
    return (MIGRATE / f"{name}.py").read_text(encoding="utf-8").splitlines()
