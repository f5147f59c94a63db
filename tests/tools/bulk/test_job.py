"""Jobs: what is written, what is above after a stop, and that nothing is scored twice."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from qwen3_ascend_retrievers import CachedEngine, CascadeEngine, LocalEngine, RemoteEngine, Reranker
from qwen3_ascend_retrievers.engines.base import Engine
from qwen3_ascend_retrievers.errors import ConnectionFailedError, InvalidInputError
from qwen3_ascend_retrievers.settings import RerankSettings
from qwen3_ascend_retrievers.testing import FakeEngine
from qwen3_ascend_retrievers.tools.bulk.batch_queue import WorkerLostError
from qwen3_ascend_retrievers.tools.bulk.columns import Columns
from qwen3_ascend_retrievers.tools.bulk.finished import FinishedBatches, JobCounts
from qwen3_ascend_retrievers.tools.bulk.groups import GroupRanking, GroupScorer, QueryGroup
from qwen3_ascend_retrievers.tools.bulk.inputs import InputFiles
from qwen3_ascend_retrievers.tools.bulk.job import BulkJob, Worker, run_job
from support.bulk_rows import HashEngine, RaisingEngine, hash_score, lists, pairs, write_jsonl

LISTS = Columns(query="query", documents="documents")
PAIRS = Columns(query="query", document="document")


def job_of(source: Path, output: Path, columns: Columns = LISTS, pairs: int = 10) -> BulkJob:
    return BulkJob(inputs=InputFiles.at(source), output=output, columns=columns, pairs=pairs)


def ran(job: BulkJob, *workers: Worker, engine: Any = HashEngine, **settings: Any) -> JobCounts:
    """The counts of a job that goes on from whatever is there."""
    reports: list[JobCounts] = []

    async def run() -> JobCounts:
        scorer = GroupScorer(engine, RerankSettings(**settings))
        finished = FinishedBatches(job.output, {"job": 1})
        try:
            return await run_job(job, finished, workers or [scorer], reports.append)
        finally:
            await scorer.aclose()
            if finished.folder.exists():
                finished.close()

    return asyncio.run(run())


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
        return rows
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("source", ["in.jsonl", "in.parquet"])
@pytest.mark.parametrize("target", ["out.jsonl", "out.parquet"])
@pytest.mark.parametrize("columns", [LISTS, PAIRS], ids=["lists", "pairs"])
def test_every_row_comes_out_in_order_with_its_scores(
    tmp_path: Path, source: str, target: str, columns: Columns
) -> None:
    rows = pairs(40) if columns.is_pairs else lists(40)
    path = write_jsonl(tmp_path / "in.jsonl", rows)
    if source.endswith("parquet"):
        path = tmp_path / source
        parquet.write_table(pa.Table.from_pylist(rows), path)
    counts = ran(job_of(path, tmp_path / target, columns))
    assert counts == JobCounts(rows=len(rows), pairs=160)
    rows_out = read(tmp_path / target)
    assert [{name: row[name] for name in rows[0]} for row in rows_out] == rows
    assert {row["__inference_error__"] for row in rows_out} == {""}
    if columns.is_pairs:
        assert [row["relevance_score"] for row in rows_out] == [
            hash_score(row["query"], row["document"]) for row in rows
        ]
        for at in range(0, 160, 4):
            of_query = sorted(rows_out[at : at + 4], key=lambda row: -row["relevance_score"])
            assert [row["rank"] for row in of_query] == [1, 2, 3, 4]
    else:
        for row in rows_out:
            best = [result["relevance_score"] for result in row["results"]]
            assert best == sorted(best, reverse=True)
            for result in row["results"]:
                document = row["documents"][result["index"]]
                assert result["relevance_score"] == hash_score(row["query"], document)
    assert not (tmp_path / f"{target}.parts").exists()


@pytest.mark.parametrize("target", ["out.jsonl", "out.parquet"])
def test_one_wrong_row_in_a_thousand_is_kept_with_its_error(tmp_path: Path, target: str) -> None:
    for wrong, text in ((None, "must be a str, not NoneType"), ("POISON", "a kernel failed")):
        rows = pairs(250)
        rows[613]["document"] = wrong
        source = write_jsonl(tmp_path / "in.jsonl", rows)
        counts = ran(job_of(source, tmp_path / target, PAIRS, 100), engine=RaisingEngine)
        assert (counts.rows, counts.failed) == (1000, 1)
        rows_out = read(tmp_path / target)
        assert [row["id"] for row in rows_out] == [row["id"] for row in rows]
        errors = {at for at, row in enumerate(rows_out) if row["__inference_error__"]}
        assert errors == {613}
        assert text in rows_out[613]["__inference_error__"]
        assert rows_out[613]["relevance_score"] is None
        assert all(
            row["relevance_score"] is not None for row in rows_out if row is not rows_out[613]
        )


def test_documents_with_errors_stand_behind_the_others(tmp_path: Path) -> None:
    rows = [{"query": "q", "documents": ["a", None, "b", 5]}, {"query": None, "documents": ["a"]}]
    ran(job_of(write_jsonl(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"))
    first, second = read(tmp_path / "out.jsonl")
    assert [result["index"] for result in first["results"]][2:] == [1, 3]
    assert [result["relevance_score"] for result in first["results"]][2:] == [None, None]
    assert first["__inference_error__"] == (
        "documents[1]: InvalidInputError: The document must be a str, not NoneType. "
        "(2 documents in all)"
    )
    assert (second["results"], second["__inference_error__"][:25]) == (
        None,
        "InvalidInputError: query ",
    )


def test_broken_lines_stay_in_their_place(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", lists(6))
    lines = source.read_text().splitlines()
    source.write_text("\n".join([*lines[:3], "{broken", *lines[3:]]))
    for target in ("out.jsonl", "out.parquet"):
        counts = ran(job_of(source, tmp_path / target))
        assert (counts.rows, counts.failed) == (7, 1)
        rows_out = read(tmp_path / target)
        assert "in.jsonl, line 4 is no JSON" in rows_out[3]["__inference_error__"]
        assert [row.get("id") for row in rows_out] == [0, 1, 2, None, 3, 4, 5]


def test_top_n_and_threshold_leave_pairs_out_but_no_error(tmp_path: Path) -> None:
    rows = pairs(10)
    rows[5]["document"] = None
    job = job_of(write_jsonl(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl", PAIRS)
    ran(job, top_n=2)
    rows_out = read(job.output)
    assert len(rows_out) == 21
    assert {row["rank"] for row in rows_out} == {1, 2, None}
    job.output.unlink()
    ran(job, score_threshold=0.5)
    rows_out = read(job.output)
    above = [
        row for row in rows if row["document"] and hash_score(row["query"], row["document"]) >= 0.5
    ]
    assert len(rows_out) == len(above) + 1


def test_a_lone_surrogate_survives_in_jsonl(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"query": "q \\ud800 文", "documents": ["d \\udfff"]}\n')
    ran(job_of(source, tmp_path / "out.jsonl"))
    (row,) = read(tmp_path / "out.jsonl")
    assert row["query"] == "q \ud800 文"
    assert row["results"][0]["relevance_score"] is not None


def test_types_that_json_lacks_are_written_as_text(tmp_path: Path) -> None:
    import datetime

    day = datetime.date(2026, 11, 29)
    table = pa.table({"query": ["q"], "documents": [["d"]], "day": [day]})
    parquet.write_table(table, tmp_path / "in.parquet")
    ran(job_of(tmp_path / "in.parquet", tmp_path / "out.jsonl"))
    assert read(tmp_path / "out.jsonl")[0]["day"] == "2026-11-29"
    ran(job_of(tmp_path / "in.parquet", tmp_path / "out.parquet"))
    assert read(tmp_path / "out.parquet")[0]["day"] == day


class StopError(Exception):
    pass


class StoppingWorker:
    """A scorer that stops everything at its n-th batch, and counts what it scores."""

    def __init__(self, batches: int) -> None:
        self._left = batches
        self.queries: list[str] = []
        self._scorer = GroupScorer(HashEngine, RerankSettings())

    async def start(self) -> None:
        pass

    async def rank(self, groups: Sequence[QueryGroup]) -> list[GroupRanking]:
        await asyncio.sleep(0)
        self._left -= 1
        if self._left < 0:
            raise StopError
        self.queries += [group.query for group in groups]
        return await self._scorer.rank(groups)


@pytest.mark.parametrize("target", ["out.jsonl", "out.parquet"])
@pytest.mark.parametrize("batches", [0, 1, 7, 13])
def test_a_stopped_job_goes_on_to_the_same_bytes_without_scoring_twice(
    tmp_path: Path, target: str, batches: int
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", lists(40))
    ran(job_of(source, tmp_path / f"whole-{target}"))
    job = job_of(source, tmp_path / target)
    stopping, second = StoppingWorker(batches), StoppingWorker(100)
    with pytest.raises(StopError):
        ran(job, stopping)
    assert not job.output.exists()
    assert ran(job, second) == JobCounts(rows=40, pairs=160)
    assert job.output.read_bytes() == (tmp_path / f"whole-{target}").read_bytes()
    finished = stopping.queries + second.queries
    assert {*finished} == {row["query"] for row in lists(40)}
    # What was under way beside the batch at which it stopped.
    assert len(finished) <= 40 + 3


def test_a_batch_that_was_damaged_is_scored_again(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", lists(40))
    ran(job_of(source, tmp_path / "whole.jsonl"))
    job = job_of(source, tmp_path / "out.jsonl")
    with pytest.raises(StopError):
        ran(job, StoppingWorker(5))
    parts = tmp_path / "out.jsonl.parts"
    (parts / "00000002.jsonl").write_text('{"id": 6}\n')
    (parts / "00000003.json").write_text('{"rows": 3, "pa')
    with pytest.raises(InvalidInputError, match="is not what was written there"):
        ran(job)
    ran(job)
    assert job.output.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_the_parts_of_another_job_or_process_are_refused(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    first = FinishedBatches(output, {"job": 1})
    first.add(0, b"{}\n", JobCounts(rows=1))
    with pytest.raises(InvalidInputError, match="Another process is at work"):
        FinishedBatches(output, {"job": 1})
    first.close()
    with pytest.raises(InvalidInputError, match="finished rows of another job"):
        FinishedBatches(output, {"job": 2})
    again = FinishedBatches(output, {"job": 1})
    assert again.total() == JobCounts(rows=1)
    again.close()
    fresh = FinishedBatches(output, {"job": 2}, fresh=True)
    assert fresh.counts == {}
    fresh.close()


def test_an_output_that_cannot_be_written_is_known_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="there is no folder"):
        FinishedBatches(tmp_path / "none" / "out.jsonl", {})
    source = write_jsonl(tmp_path / "in.jsonl", lists(1))
    with pytest.raises(InvalidInputError, match=r"must end in \.parquet or \.jsonl"):
        job_of(source, tmp_path / "out.csv")
    with pytest.raises(InvalidInputError, match="is an input"):
        job_of(source, source)


def test_an_engine_that_fails_stops_the_job_and_keeps_what_is_finished(tmp_path: Path) -> None:
    class Failing(HashEngine):
        calls = 0

        def _score(self, *arguments: Any) -> Any:
            Failing.calls += 1
            if Failing.calls > 20:
                raise ConnectionFailedError("refused")
            return super()._score(*arguments)

    job = job_of(write_jsonl(tmp_path / "in.jsonl", lists(40)), tmp_path / "out.jsonl")
    with pytest.raises(ConnectionFailedError):
        ran(job, engine=Failing)
    assert not job.output.exists()
    assert len(list((tmp_path / "out.jsonl.parts").glob("0*.json"))) >= 4
    Failing.calls = 0
    ran(job)
    assert [row["id"] for row in read(job.output)] == [*range(40)]


def test_a_worker_that_never_starts_does_not_hold_the_job_up(tmp_path: Path) -> None:
    class Waiting(StoppingWorker):
        async def start(self) -> None:
            await asyncio.Event().wait()

    job = job_of(write_jsonl(tmp_path / "in.jsonl", lists(40)), tmp_path / "out.jsonl")
    assert ran(job, Waiting(0), StoppingWorker(100)).rows == 40


class LosingWorker(StoppingWorker):
    """On a machine that is lost at each of its first batches."""

    async def rank(self, groups: Sequence[QueryGroup]) -> list[GroupRanking]:
        self._left -= 1
        if self._left >= 0:
            raise WorkerLostError("the node is gone")
        return await self._scorer.rank(groups)


def test_the_batches_of_lost_workers_are_scored_by_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = job_of(write_jsonl(tmp_path / "in.jsonl", lists(40)), tmp_path / "out.jsonl")
    counts = ran(job, LosingWorker(2), LosingWorker(2), StoppingWorker(100))
    assert counts == JobCounts(rows=40, pairs=160)
    assert [row["id"] for row in read(job.output)] == [*range(40)]
    assert caplog.text.count("A batch goes to another worker: the node is gone") == 4


def test_a_batch_that_ends_every_worker_ends_the_job(tmp_path: Path) -> None:
    job = job_of(write_jsonl(tmp_path / "in.jsonl", lists(40)), tmp_path / "out.jsonl")
    with pytest.raises(WorkerLostError, match=r"has ended 5 workers, the last one so: the node"):
        ran(job, LosingWorker(10**9))
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def identity(job: BulkJob, engine: Engine, **settings: Any) -> Any:
    value = job.identity(Reranker(engine, **settings))
    assert json.loads(json.dumps(value)) == json.loads(json.dumps(value))
    return value


def test_a_job_s_identity_has_what_scores_depend_on_and_no_timeouts(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", lists(2))
    job = job_of(source, tmp_path / "out.jsonl")
    server = RemoteEngine("http://npu-host:8000")
    patient = RemoteEngine("http://npu-host:8000", timeout=99, max_connections=3)
    assert identity(job, server) == identity(job, patient)
    cascades = [CascadeEngine([LocalEngine("tiny"), engine]) for engine in (server, patient)]
    assert identity(job, cascades[0]) == identity(job, cascades[1])
    names = [name for name, *_ in identity(job, cascades[0])["weights"][0]]
    assert names == ["config.json", "model.safetensors", "tokenizer_config.json"]
    caches = [CachedEngine(engine, cache_namespace="a") for engine in (server, patient)]
    assert identity(job, caches[0]) == identity(job, caches[1])
    others = [
        identity(job, server, instruction="code_search"),
        identity(job, server, top_n=3),
        identity(job, RemoteEngine("http://npu-host:8001")),
        identity(job, FakeEngine()),
        identity(job_of(source, tmp_path / "out.jsonl", pairs=11), server),
    ]
    os.utime(source, ns=(1, 1))
    others.append(identity(job, server))
    texts = {json.dumps(other) for other in others}
    assert len(texts) == len(others)
    os.utime(source, ns=(2, 2))
    assert json.dumps(identity(job, server)) not in texts
