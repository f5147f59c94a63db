"""A reranking that stops keeps what is finished, and goes on only with the same task."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from qwen3_ascend_retrievers.core.plan import Plan
from qwen3_ascend_retrievers.core.ranking import Score
from qwen3_ascend_retrievers.engines.base import Call
from qwen3_ascend_retrievers.errors import EngineError, InvalidInputError
from qwen3_ascend_retrievers.evaluation.journal import Journal
from qwen3_ascend_retrievers.evaluation.reranking import Task, rerank_run
from qwen3_ascend_retrievers.reranker import Reranker
from qwen3_ascend_retrievers.testing import FakeEngine

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


def finish(journal: Path, engine: FakeEngine, task: Task = TASK) -> tuple[object, list[int]]:
    reranker, seen = Reranker(engine), list[int]()
    made = Journal(journal, task.mark(reranker))
    try:
        return rerank_run(task, reranker, made, seen.append), seen
    finally:
        made.close()


def test_a_failing_engine_keeps_what_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with pytest.raises(EngineError, match="out of order"):
        finish(path, Failing())
    with path.open("a") as file:
        file.write('{"query": "q2", "docum')
    engine = FakeEngine()
    run, seen = finish(path, engine)
    assert len(engine.calls) == 2
    assert seen == [1] * 4
    assert run == {f"q{at}": [("b", 0.5), ("a", 0.0)] for at in range(4)}
    assert len(path.read_text().splitlines()) == 5
    again = FakeEngine()
    assert finish(path, again) == (run, seen)
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
    marks = [TASK.mark(one) for one in [*rerankers, folder]]
    (tmp_path / "model.safetensors").write_bytes(b"12")
    assert len({*marks, TASK.mark(folder)}) == len(marks) + 1
    assert TASK.mark(Reranker(FakeEngine())) == marks[0]


@pytest.mark.parametrize(
    "content",
    ["no journal\n", "[]\n", '{"other": 1}\n', "[" * 100_000 + "\n"],
    ids=["text", "list", "other", "deep"],
)
def test_another_file_is_not_taken_for_a_journal(tmp_path: Path, content: str) -> None:
    path = tmp_path / "journal"
    path.write_text(content)
    with pytest.raises(InvalidInputError, match="line 1 is no line of a journal"):
        finish(path, FakeEngine())
    assert path.read_text() == content


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
    with pytest.raises(InvalidInputError, match="lack 1 of the run's, q9"):
        dataclasses.replace(TASK, run=TASK.run | {"q9": [("a", 1.0)]})
