"""`bulk` with its rows scored by actors of a real cluster."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from qwen3_ascend_retrievers import LocalEngine
from qwen3_ascend_retrievers.errors import ModelError
from qwen3_ascend_retrievers.settings import RerankSettings
from qwen3_ascend_retrievers.tools.bulk import cluster as bulk_cluster
from qwen3_ascend_retrievers.tools.bulk.cluster import cluster_workers
from qwen3_ascend_retrievers.tools.bulk.columns import Columns
from qwen3_ascend_retrievers.tools.bulk.finished import FinishedBatches, JobCounts
from qwen3_ascend_retrievers.tools.bulk.inputs import InputFiles
from qwen3_ascend_retrievers.tools.bulk.job import BulkJob, run_job
from qwen3_ascend_retrievers.tools.bulk.recipe import Recipe, recipe_of
from support.bulk_rows import HashEngine, hash_score, lists, write_jsonl
from support.cli_runs import TINY, run
from support.noting_engine import NotingEngine, nodes_at_work
from support.rerank_server import RerankServer


def ran(folder: Path, recipe: Recipe, concurrency: int = 1, **resources: float) -> JobCounts:
    source = write_jsonl(folder / "in.jsonl", lists(100, 20))
    columns = Columns(query="query", documents="documents")
    output = folder / "out.jsonl"
    job = BulkJob(inputs=InputFiles.at(source), output=output, columns=columns, pairs=40)
    with (
        FinishedBatches(output, {}) as finished,
        cluster_workers(
            "auto",
            recipe,
            RerankSettings(),
            concurrency=concurrency,
            resources=resources or {"engine": 1},
        ) as workers,
    ):
        return asyncio.run(run_job(job, finished, workers, lambda counts: None))


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


@pytest.mark.usefixtures("cluster")
def test_every_row_is_written_once_in_order(tmp_path: Path) -> None:
    assert ran(tmp_path, HashEngine) == JobCounts(rows=100, pairs=2000)
    for number, line in enumerate((tmp_path / "out.jsonl").read_text("utf-8").splitlines()):
        row = json.loads(line)
        assert row["id"] == number
        for result in row["results"]:
            document = row["documents"][result["index"]]
            assert result["relevance_score"] == hash_score(row["query"], document)


def test_a_node_that_dies_at_work_changes_no_byte(
    cluster: Any, second_node: Any, tmp_path: Path, notes: Path
) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    ran(whole, recipe_of(LocalEngine("tiny")))
    with ThreadPoolExecutor(1) as thread:
        engine = partial(NotingEngine, notes, seconds=0.5)
        counts = thread.submit(ran, tmp_path, engine, 2)
        deadline = time.monotonic() + 120
        while second_node.node_id not in nodes_at_work(notes):
            assert not counts.done()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        cluster.remove_node(second_node, allow_graceful=False)
        assert counts.result(timeout=300) == JobCounts(rows=100, pairs=2000)
    assert nodes_at_work(notes) == {second_node.node_id}
    assert (tmp_path / "out.jsonl").read_bytes() == (whole / "out.jsonl").read_bytes()


@pytest.mark.usefixtures("cluster")
def test_a_model_that_cannot_be_loaded_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="/no/such/model"):
        ran(tmp_path, recipe_of(LocalEngine("/no/such/model")))
    assert not (tmp_path / "out.jsonl").exists()


def test_an_actor_without_a_node_waits_with_a_warning_and_starts_when_one_comes(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bulk_cluster, "_PATIENCE_SECONDS", 0.2)
    with ThreadPoolExecutor(1) as thread, caplog.at_level(logging.WARNING):
        counts = thread.submit(ran, tmp_path, HashEngine, 1, NPU=1)
        deadline = time.monotonic() + 60
        while "no node free" not in caplog.text:
            assert not counts.done()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        node = cluster.add_node(num_cpus=1, resources={"NPU": 1}, object_store_memory=10**8)
        assert counts.result(timeout=120).rows == 100
    cluster.remove_node(node)


def test_the_command_starts_a_cluster_of_its_own_and_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "in.jsonl", lists(30))
    here = run("bulk", "in.jsonl", "here.jsonl", *TINY)
    assert here.returncode == 0, here.stderr
    there = run(
        "bulk", "in.jsonl", "there.jsonl", "--ray-address", "local", "--concurrency", "2", *TINY
    )
    assert there.returncode == 0, there.stderr
    assert (
        there.stdout
        == here.stdout
        == ("30 rows, 120 pairs; 0 cut; 0 rows failed; 0 scores from the cache\n")
    )
    assert (tmp_path / "here.jsonl").read_bytes() == (tmp_path / "there.jsonl").read_bytes()


def test_the_command_joins_a_cluster_and_leaves_it_running(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "in.jsonl", lists(30))
    options = ("--ray-address", cluster.address, "--resource", "engine=1", "--engine", "local")
    process = run("bulk", "in.jsonl", "out.parquet", *options, *TINY)
    assert process.returncode == 0, process.stderr
    assert ran(tmp_path, HashEngine).rows == 100


def refusal(folder: Path, address: str, *options: str) -> str:
    """What the command says when it ends with 2, in a folder with a small input."""
    write_jsonl(folder / "in.jsonl", lists(3))
    failed = run("bulk", "in.jsonl", "out.jsonl", "--ray-address", address, *options, cwd=folder)
    assert failed.returncode == 2, failed.stderr
    assert "Traceback" not in failed.stderr
    return failed.stderr


@pytest.mark.parametrize("address", ["127.0.0.1:9", "no such address"])
def test_no_cluster_at_the_address_is_an_error_with_what_to_do(
    address: str, tmp_path: Path
) -> None:
    assert "There is no Ray cluster at" in refusal(tmp_path, address, *TINY)


def test_a_server_that_is_no_ray_cluster_is_an_error_within_seconds(tmp_path: Path) -> None:
    with RerankServer() as server:
        address = server.url.removeprefix("http://")
        text = refusal(tmp_path, address, *TINY)
    assert f"There is no Ray cluster at '{address}' (TimeoutExpired)" in text


def test_a_key_that_actors_would_lack_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sesame\n")
    (tmp_path / "key").chmod(0o600)
    server = ("--base-url", "http://127.0.0.1:9", "--api-key-file", "key")
    text = refusal(tmp_path, "local", *server)
    assert "Set QWEN3_RERANK_API_KEY where they run" in text
    assert "sesame" not in text
