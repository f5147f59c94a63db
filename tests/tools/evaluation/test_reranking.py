"""A reranking that stops keeps what is finished, and goes on only with the same task."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwen3_ascend_retrievers import CascadeEngine, LocalEngine
from qwen3_ascend_retrievers.core.plan import Plan
from qwen3_ascend_retrievers.core.ranking import Score
from qwen3_ascend_retrievers.engines.base import Call
from qwen3_ascend_retrievers.errors import EngineError, InvalidInputError
from qwen3_ascend_retrievers.models.files import TINY_FOLDER
from qwen3_ascend_retrievers.reranker import Reranker
from qwen3_ascend_retrievers.testing import FakeEngine
from qwen3_ascend_retrievers.tools.evaluation.journal import Journal
from qwen3_ascend_retrievers.tools.evaluation.reranking import Task, rerank_run

TASK = Task(
    run={f"q{at}": [("a", 2.0), ("b", 1.0)] for at in range(4)},
    queries={f"q{at}": f"word{at} cat" for at in range(4)},
    corpus={"a": "a dog", "b": "a cat"},
)


class Failing(FakeEngine):
    """Fails on one query, whichever call it comes in."""

    def score(self, plan: Plan, call: Call) -> list[Score]:
        if "word2" in plan.queries[0].query:
            raise EngineError("out of order")
        return super().score(plan, call)


def finish(path: Path, engine: FakeEngine, task: Task = TASK) -> tuple[object, list[int]]:
    reranker, progress = Reranker(engine), list[int]()
    journal = Journal(path, task.fingerprint(reranker), task.run)
    try:
        return rerank_run(task, reranker, journal, progress.append), progress
    finally:
        journal.close()


def test_a_failing_engine_keeps_what_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with pytest.raises(EngineError, match="out of order"):
        finish(path, Failing())
    with path.open("a") as file:
        file.write('{"query": "q2", "docum')
    engine = FakeEngine()
    run, progress = finish(path, engine)
    assert len(engine.calls) == 2
    assert progress == [1] * 4
    assert run == {f"q{at}": [("b", 0.5), ("a", 0.0)] for at in range(4)}
    assert len(path.read_text().splitlines()) == 5
    again = FakeEngine()
    assert finish(path, again) == (run, progress)
    assert again.calls == []


CHANGED = {
    "query": dataclasses.replace(TASK, queries=TASK.queries | {"q3": "other"}),
    "document": dataclasses.replace(TASK, corpus={"a": "a dog", "b": "two cats"}),
    "order": dataclasses.replace(TASK, run=TASK.run | {"q0": [("b", 2.0), ("a", 1.0)]}),
}


@pytest.mark.parametrize("what", CHANGED)
def test_other_inputs_are_another_task(tmp_path: Path, what: str) -> None:
    finish(tmp_path / "journal", FakeEngine())
    with pytest.raises(InvalidInputError, match="other inputs, another model or other settings"):
        finish(tmp_path / "journal", FakeEngine(), CHANGED[what])


def test_other_models_and_settings_are_another_task(tmp_path: Path) -> None:
    rerankers = [
        Reranker(FakeEngine()),
        Reranker(FakeEngine(model="other")),
        Reranker(FakeEngine(max_length=500)),
        Reranker(FakeEngine(), max_length=500),
        Reranker(FakeEngine(), instruction="Find cats"),
        Reranker(FakeEngine(), overflow="window"),
    ]
    (tmp_path / "model.safetensors").write_bytes(b"1")
    folder = Reranker(FakeEngine(model=str(tmp_path)))
    fingerprints = [TASK.fingerprint(reranker) for reranker in [*rerankers, folder]]
    (tmp_path / "model.safetensors").write_bytes(b"12")
    assert len({*fingerprints, TASK.fingerprint(folder)}) == len(fingerprints) + 1
    assert TASK.fingerprint(Reranker(FakeEngine())) == fingerprints[0]


@pytest.mark.parametrize(
    "content",
    ["no journal\n", "[]\n", '{"other": 1}\n', "[" * 100_000 + "\n"],
    ids=["text", "list", "other", "deep"],
)
def test_another_file_is_not_taken_for_a_journal(tmp_path: Path, content: str) -> None:
    path = tmp_path / "journal"
    path.write_text(content)
    with pytest.raises(InvalidInputError, match="line 1 is damaged: it is no line of a journal"):
        finish(path, FakeEngine())
    assert path.read_text() == content


def damage(path: Path, change: Callable[[dict[str, Any]], Any], line: int = 2) -> str:
    """Change the row of a line; the content that is left."""
    lines = path.read_text().splitlines()
    lines[line] = json.dumps(change(json.loads(lines[line])))
    path.write_text("".join(f"{text}\n" for text in lines))
    return path.read_text()


def with_documents(*documents: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda row: row | {"documents": list(documents)}


# The row as it is: {"query": "q1", "documents": [["b", 0.5], ["a", 0.0]], "check": "..."}
DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "nan": (with_documents(["b", math.nan], ["a", 0.0]), "nan is no relevance score"),
    "text": (with_documents(["b", "abc"], ["a", 0.0]), "'abc' is no relevance score"),
    "null": (with_documents(["b", None], ["a", 0.0]), "None is no relevance score"),
    "huge": (with_documents(["b", 1e300], ["a", 0.0]), r"1e\+300 is no relevance score"),
    "negative": (with_documents(["b", 0.5], ["a", -0.1]), "-0.1 is no relevance score"),
    "bool": (with_documents(["b", True], ["a", 0.0]), "True is no relevance score"),
    "stranger": (with_documents(["b", 0.5], ["z", 0.0]), "the run has no document 'z'"),
    "number": (with_documents(["b", 0.5], [7, 0.0]), "the run has no document 7"),
    "missing": (with_documents(["b", 0.5]), "does not hold each of the query's 2 documents once"),
    "none": (with_documents(), "does not hold each of the query's 2 documents once"),
    "doubled": (with_documents(["b", 0.5], ["b", 0.5], ["a", 0.0]), "documents once"),
    "twice": (with_documents(["b", 0.5], ["b", 0.5]), "documents once"),
    "order": (with_documents(["a", 0.0], ["b", 0.5]), "not in the order of their scores"),
    "tie": (with_documents(["b", 0.5], ["a", 0.5]), "not in the order of their scores"),
    "triple": (with_documents(["b", 0.5, 1], ["a", 0.0]), "is no pair of a document and its score"),
    "object": (lambda row: row | {"documents": {"b": 0.5}}, "its documents are no list"),
    "other query": (lambda row: row | {"query": "q9"}, "the run has no query 'q9'"),
    "query twice": (lambda row: row | {"query": "q0"}, "the query q0 is there twice"),
    "other score": (with_documents(["b", 0.25], ["a", 0.0]), "it is not what was written there"),
    "exchanged": (with_documents(["a", 0.5], ["b", 0.0]), "it is not what was written there"),
    "renamed": (lambda row: row | {"query": "q3"}, "it is not what was written there"),
    "unsigned": (
        lambda row: {name: row[name] for name in ("query", "documents")},
        "it is no line of a journal",
    ),
    "list": (lambda row: [row], "it is no line of a journal"),
    "no query": (lambda row: {"documents": []}, "it is no line of a journal"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_journal_never_becomes_a_run(tmp_path: Path, what: str) -> None:
    path = tmp_path / "journal"
    change, reason = DAMAGE[what]
    with pytest.raises(EngineError):
        finish(path, Failing())
    content = damage(path, change)
    engine = FakeEngine()
    with pytest.raises(InvalidInputError, match=f"line 3 is damaged: .*{reason}.*--fresh"):
        finish(path, engine)
    assert engine.calls == []
    assert path.read_text() == content


def test_a_carriage_return_within_a_line_hides_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    finish(path, FakeEngine())
    path.write_bytes(path.read_bytes().replace(b'{"query": "q1"', b'{"que\rry": "q1"'))
    with pytest.raises(InvalidInputError, match="line 3 is damaged"):
        finish(path, FakeEngine())


def test_a_lost_first_line_is_no_other_task(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    finish(path, FakeEngine())
    path.write_bytes(path.read_bytes().partition(b"\n")[2])
    with pytest.raises(InvalidInputError, match=r"line 1 is damaged: .*choose another output\.$"):
        finish(path, FakeEngine())


def test_a_line_that_is_taken_out_is_scored_again(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    run, _ = finish(path, FakeEngine())
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))
    engine = FakeEngine()
    assert finish(path, engine)[0] == run
    assert len(engine.calls) == 1


def test_a_torn_first_line_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text('{"finger')
    finish(path, FakeEngine())
    assert len(path.read_text().splitlines()) == 5


def test_a_blank_document_is_scored_like_any_other(tmp_path: Path) -> None:
    run, _ = finish(
        tmp_path / "journal",
        FakeEngine(),
        dataclasses.replace(TASK, corpus={"a": "", "b": "a cat"}),
    )
    assert run == {f"q{at}": [("b", 0.5), ("a", 0.0)] for at in range(4)}


def test_run_and_queries_must_belong_together() -> None:
    with pytest.raises(InvalidInputError, match="lack 1 of the run's, such as q9"):
        dataclasses.replace(TASK, run=TASK.run | {"q9": [("a", 1.0)]})


@pytest.mark.skipif(sys.platform == "win32", reason="there is no flock here")
@pytest.mark.parametrize("fresh", [False, True])
def test_a_journal_is_one_process_s_at_a_time(tmp_path: Path, fresh: bool) -> None:
    path, fingerprint = tmp_path / "journal", TASK.fingerprint(Reranker(FakeEngine()))
    first = Journal(path, fingerprint, TASK.run)
    first.add("q0", [("b", 0.5), ("a", 0.0)])
    with pytest.raises(InvalidInputError, match="Another process is at work on"):
        Journal(path, fingerprint, TASK.run, fresh=fresh)
    first.close()
    again = Journal(path, fingerprint, TASK.run, fresh=fresh)
    assert list(again.finished) == ([] if fresh else ["q0"])
    again.remove()
    assert not path.exists()


def test_other_weights_of_a_first_stage_are_another_task(tmp_path: Path) -> None:
    shutil.copytree(TINY_FOLDER, tmp_path / "small")
    small = LocalEngine(str(tmp_path / "small"), device="cpu")
    with Reranker(CascadeEngine([small, FakeEngine()])) as reranker:
        before = TASK.fingerprint(reranker)
        assert TASK.fingerprint(reranker) == before
        (tmp_path / "small" / "model.safetensors").touch()
        assert TASK.fingerprint(reranker) != before
