"""`rerank_dataset` on a real cluster of two nodes."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
import ray.data

from qwen3_ascend_retrievers import CascadeEngine, LocalEngine, Reranker
from qwen3_ascend_retrievers.errors import InvalidInputError, MissingDependencyError
from qwen3_ascend_retrievers.ray import rerank_dataset
from qwen3_ascend_retrievers.testing import FakeEngine
from support.bulk_rows import HashEngine, RaisingEngine, hash_score, lists, pairs
from support.noting_engine import NotingEngine, nodes_at_work

ENGINE = {"engine": 1}
LISTS = {"query_column": "query", "documents_column": "documents"}
PAIRS = {"query_column": "query", "document_column": "document"}

pytestmark = pytest.mark.usefixtures("cluster")


def by_id(rows: list[dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    """The rows by their number; none is there twice."""
    rows_by_id = {row["id"]: row for row in rows}
    assert len(rows_by_id) == len(rows)
    return rows_by_id


@pytest.fixture(scope="module")
def expected() -> dict[tuple[str, str], float]:
    """The scores of 2,000 pairs in one process."""
    rows = lists(100, 20)
    texts = [(row["query"], document) for row in rows for document in row["documents"]]
    with Reranker(LocalEngine("tiny")) as reranker:
        return dict(zip(texts, reranker.score(texts), strict=True))


def check_lists(rows: list[dict[str, Any]], expected: dict[tuple[str, str], float]) -> None:
    rows_by_id = by_id(rows)
    assert set(rows_by_id) == {*range(100)}
    for source in lists(100, 20):
        row = rows_by_id[source["id"]]
        assert row["__inference_error__"] == ""
        assert row["documents"] == source["documents"]
        scores = {result["index"]: result["relevance_score"] for result in row["results"]}
        right = {
            at: expected[row["query"], document] for at, document in enumerate(row["documents"])
        }
        assert scores == pytest.approx(right, abs=1e-5)
        assert list(scores.values()) == sorted(scores.values(), reverse=True)


def test_2000_pairs_score_as_in_one_process(
    second_node: Any, tmp_path: Path, expected: dict[tuple[str, str], float]
) -> None:
    dataset = ray.data.from_items(lists(100, 20), override_num_blocks=10)
    engine = partial(NotingEngine, tmp_path)
    more = {"concurrency": 2, "resources": ENGINE, "batch_size": 4}
    with ThreadPoolExecutor(1) as thread:
        result = thread.submit(rerank_dataset(dataset, engine, **LISTS, **more).take_all)
        nodes: set[str] = set()
        while not result.done():
            nodes |= nodes_at_work(tmp_path)
            time.sleep(0.01)
    check_lists(result.result(), expected)
    assert len(nodes) == 2


def test_pairs_are_grouped_by_query_and_ranked(expected: dict[tuple[str, str], float]) -> None:
    rows = pairs(100, 20)
    # Those of a query are far apart.
    rows = [row for start in range(20) for row in rows[start::20]]
    dataset = ray.data.from_items(rows, override_num_blocks=7)
    reranked = rerank_dataset(dataset, LocalEngine("tiny"), **PAIRS, top_n=5, resources=ENGINE)
    rows_by_id = by_id(reranked.take_all())
    assert len(rows_by_id) == 500
    for row in rows_by_id.values():
        assert row["relevance_score"] == pytest.approx(
            expected[row["query"], row["document"]], abs=1e-5
        )
    for query in {row["query"] for row in rows}:
        of_query = [row for row in rows_by_id.values() if row["query"] == query]
        assert sorted(row["rank"] for row in of_query) == [1, 2, 3, 4, 5]
        best = sorted((expected[text] for text in expected if text[0] == query), reverse=True)[:5]
        scores = sorted((row["relevance_score"] for row in of_query), reverse=True)
        assert scores == pytest.approx(best, abs=1e-5)


def test_a_node_that_dies_at_work_loses_and_doubles_nothing(
    cluster: Any, second_node: Any, tmp_path: Path, expected: dict[tuple[str, str], float]
) -> None:
    dataset = ray.data.from_items(lists(100, 20), override_num_blocks=10)
    engine = partial(NotingEngine, tmp_path, seconds=1.0)
    more = {"concurrency": 2, "resources": ENGINE, "batch_size": 4}
    with ThreadPoolExecutor(1) as thread:
        result = thread.submit(rerank_dataset(dataset, engine, **LISTS, **more).take_all)
        deadline = time.monotonic() + 120
        while second_node.node_id not in nodes_at_work(tmp_path):
            assert not result.done()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        cluster.remove_node(second_node, allow_graceful=False)
        rows = result.result(timeout=300)
    # What it was at when it was killed was never finished there.
    assert nodes_at_work(tmp_path) == {second_node.node_id}
    check_lists(rows, expected)


Change = Callable[[list[dict[str, Any]]], Any]


@pytest.mark.parametrize(
    ("engine", "text", "settings"),
    [
        (HashEngine, None, {}),
        (partial(FakeEngine, max_length=500), "word " * 2000, {"overflow": "error"}),
        (RaisingEngine, "a POISON", {}),
    ],
    ids=["no text", "too long", "an engine that raises"],
)
@pytest.mark.parametrize("columns", [LISTS, PAIRS], ids=["lists", "pairs"])
def test_one_wrong_row_in_a_thousand_is_kept_with_its_reason(
    engine: Callable[[], Any], text: Any, settings: dict[str, Any], columns: dict[str, str]
) -> None:
    if columns is PAIRS:
        rows = pairs(250)
        rows[613]["document"] = text
    else:
        rows = lists(1000, 1)
        rows[613]["documents"] = [text]
    dataset = ray.data.from_items(rows, override_num_blocks=2)
    reranked = rerank_dataset(dataset, engine, **columns, resources=ENGINE, **settings)
    rows_by_id = by_id(reranked.take_all())
    assert len(rows_by_id) == 1000
    failed = [number for number, row in rows_by_id.items() if row["__inference_error__"]]
    assert failed == [rows[613]["id"]]
    reasons = {None: "must be a str, not NoneType", "a POISON": "RuntimeError: a kernel failed"}
    reason = reasons.get(text, "TooLongError: The document ")
    assert reason in rows_by_id[rows[613]["id"]]["__inference_error__"]
    for number, row in rows_by_id.items():
        if number not in failed:
            score = (
                row["results"][0]["relevance_score"] if columns is LISTS else row["relevance_score"]
            )
            assert score is not None
            if engine is HashEngine:
                document = row["documents"][0] if columns is LISTS else row["document"]
                assert score == hash_score(row["query"], document)


def test_a_value_of_another_type_is_a_row_with_an_error() -> None:
    rows = [*pairs(3), {"id": "x", "query": "q", "document": 5}]
    dataset = ray.data.from_items(rows, override_num_blocks=1)
    rows_by_id = by_id(rerank_dataset(dataset, HashEngine, **PAIRS, resources=ENGINE).take_all())
    assert "must be a str, not int" in rows_by_id["x"]["__inference_error__"]
    assert sum(row["relevance_score"] is not None for row in rows_by_id.values()) == 12


def test_a_cascade_s_results_say_which_stage_they_are_of(second_node: Any) -> None:
    cascade = CascadeEngine([LocalEngine("tiny"), LocalEngine("tiny")], keep=2)
    dataset = ray.data.from_items(lists(5))
    rows = rerank_dataset(dataset, cascade, **LISTS, resources=ENGINE).take_all()
    for row in rows:
        assert [result["rerank_stage"] for result in row["results"]] == [2, 2, 1, 1]


def test_a_model_that_cannot_be_loaded_ends_the_job() -> None:
    dataset = ray.data.from_items(lists(3))
    reranked = rerank_dataset(dataset, LocalEngine("/no/such/model"), **LISTS, resources=ENGINE)
    with pytest.raises(ray.exceptions.RayError, match="/no/such/model"):
        reranked.take_all()


def test_pairs_are_refused_with_a_ray_that_loses_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "__version__", "2.59.1")
    dataset = ray.data.from_items(pairs(2))
    with pytest.raises(MissingDependencyError, match=r"needs Ray 2\.60, and 2\.59\.1 is installed"):
        rerank_dataset(dataset, FakeEngine(), **PAIRS)
    rerank_dataset(ray.data.from_items(lists(2)), FakeEngine(), **LISTS)


@pytest.mark.parametrize("dataset", [None, [{"query": "q", "documents": []}]])
def test_what_is_no_dataset_is_refused(dataset: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"dataset must be a ray\.data\.Dataset"):
        rerank_dataset(dataset, FakeEngine(), **LISTS)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"query_column": "query"}, "Give documents_column"),
        ({**LISTS, "query_column": "q"}, "no column 'q'"),
        ({**LISTS, "batch_size": 0}, "batch_size"),
        ({**LISTS, "concurrency": 0}, "concurrency"),
        ({**LISTS, "concurrency": (2, 1)}, "concurrency"),
        ({**LISTS, "concurrency": (1, 2, 3)}, "must be a number or"),
        ({**LISTS, "resources": {"NPU": 0}}, "amounts above 0"),
        ({**LISTS, "resources": "NPU"}, "must be a mapping"),
        ({**LISTS, "top_n": 0}, "top_n is 0"),
        ({**LISTS, "overflow": "drop"}, "overflow must be one of"),
        ({**PAIRS, "max_documents": 5}, "goes by the order of a list"),
    ],
)
def test_wrong_arguments_are_known_before_anything_runs(
    arguments: dict[str, Any], text: str
) -> None:
    rows = pairs(2) if "document_column" in arguments else lists(2)
    with pytest.raises(InvalidInputError, match=text):
        rerank_dataset(ray.data.from_items(rows), FakeEngine(), **arguments)
