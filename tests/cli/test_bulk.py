"""`qwen3-rerank bulk`: whole, killed, gone on, and refused, by the installed script."""

from __future__ import annotations

import json
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from qwen3_ascend_retrievers import LocalEngine, Reranker
from support.bulk_rows import lists, pairs, write_jsonl
from support.cli_runs import TINY, invoke, run, start
from support.rerank_answers import rerank_only_setup
from support.rerank_faults import Gate, status
from support.rerank_server import ReceivedRequest, RerankServer

# Rows of 4 documents, 3 of them a batch.
ROWS = 60
BATCHES = ROWS // 3
SMALL = ("--batch-size", "10")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "in.jsonl", lists(ROWS))
    return tmp_path


@pytest.fixture
def server() -> Iterator[RerankServer]:
    with RerankServer(rerank_only_setup()) as server:
        yield server


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_the_real_model_scores_every_pair_as_alone(folder: Path) -> None:
    result = invoke("bulk", "in.jsonl", "out.jsonl", "--json", *TINY)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report.pop("seconds") > 0
    counts = {"rows": ROWS, "pairs": 4 * ROWS, "cut": 0, "failed": 0, "cache_hits": 0}
    assert report == counts | {"output": "out.jsonl"}
    with Reranker(LocalEngine("tiny")) as reranker:
        for row in read(folder / "out.jsonl")[::7]:
            alone = reranker.rank(row["query"], row["documents"])
            scores = {result.index: result.score for result in alone.results}
            scores_in_file = {
                result["index"]: result["relevance_score"] for result in row["results"]
            }
            assert scores_in_file == pytest.approx(scores, abs=1e-5)
            assert list(scores_in_file) == [result.index for result in alone.results]


def test_the_summary_counts_what_was_cut_what_failed_and_what_a_cache_had(folder: Path) -> None:
    rows = pairs(5)
    rows[1]["document"] = "word " * 20_000
    rows[7]["document"] = None
    write_jsonl(folder / "pairs.jsonl", rows)
    cached = ("bulk", "pairs.jsonl", "--cache", "scores", *TINY)
    first = invoke(*cached, "a.jsonl")
    assert first.stdout == ("20 rows, 20 pairs; 1 cut; 1 row failed; 0 scores from the cache\n"), (
        first.output
    )
    second = invoke(*cached, "b.jsonl")
    assert "; 19 scores from the cache" in second.stdout
    assert (folder / "a.jsonl").read_bytes() == (folder / "b.jsonl").read_bytes()


def query_of(request: ReceivedRequest) -> str:
    return str((request.body or {}).get("query"))


def finished(folder: Path) -> int:
    return len(list((folder / "out.jsonl.parts").glob("0*.json")))


@pytest.mark.parametrize(
    ("number", "batches"),
    [
        (signal.SIGKILL, 0),
        (signal.SIGKILL, 5),
        (signal.SIGKILL, BATCHES - 1),
        (signal.SIGINT, 5),
        (signal.SIGTERM, BATCHES - 1),
    ],
)
def test_a_killed_command_goes_on_to_the_same_bytes(
    folder: Path, server: RerankServer, number: signal.Signals, batches: int
) -> None:
    arguments = ("bulk", "in.jsonl", "out.jsonl", *SMALL, "--base-url", server.url)
    row = lists(ROWS)[3 * batches]
    gate = Gate(lambda request: row["query"] in query_of(request))
    server.decide = gate
    process = start(*arguments)
    try:
        assert gate.reached.wait(600)
        # Of the two batches under way the other one may still be on its way to the disk.
        deadline = time.monotonic() + 60
        while finished(folder) < batches and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(number)
        _, errors = process.communicate(timeout=600)
    finally:
        process.kill()
    assert not (folder / "out.jsonl").exists()
    before = finished(folder)
    assert batches <= before < BATCHES
    if number is not signal.SIGKILL:
        assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    if number is not signal.SIGKILL and before:
        assert f"{3 * before} of {ROWS} rows. The same command goes on from there" in errors
    gate.opened.set()
    server.requests.clear()
    again = run(*arguments)
    assert again.returncode == 0, again.stderr
    assert f"Finished before: {3 * before} of {ROWS} rows" in again.stderr or not before
    requests = " ".join(map(query_of, server.requests))
    assert sum(row["query"] in requests for row in lists(ROWS)) == ROWS - 3 * before
    assert run("bulk", "in.jsonl", "whole.jsonl", *arguments[3:]).returncode == 0
    assert (folder / "out.jsonl").read_bytes() == (folder / "whole.jsonl").read_bytes()
    assert {path.name for path in folder.iterdir()} == {"in.jsonl", "out.jsonl", "whole.jsonl"}


def limit_files(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


# Of a batch; the job's own file is smaller.
BATCH_FILE = 1200


# Smaller than a batch's file; larger than that, and smaller than all of them together.
@pytest.mark.parametrize("size", [BATCH_FILE, 5000])
def test_a_full_disk_keeps_what_is_finished(folder: Path, server: RerankServer, size: int) -> None:
    arguments = ("bulk", "in.jsonl", "out.jsonl", *SMALL, "--base-url", server.url)
    full = run(*arguments, preexec_fn=limit_files(size))
    assert full.returncode == 1
    assert "Check the disk" in full.stderr
    assert ("The same command goes on from there" in full.stderr) == (size > BATCH_FILE)
    assert not (folder / "out.jsonl").exists()
    assert (finished(folder) == BATCHES) == (size > BATCH_FILE)
    again = run(*arguments)
    assert again.returncode == 0, again.stderr
    assert [row["id"] for row in read(folder / "out.jsonl")] == [*range(ROWS)]


def test_a_server_that_fails_stops_the_command_and_a_text_that_it_refuses_does_not(
    folder: Path, server: RerankServer
) -> None:
    arguments = ("bulk", "in.jsonl", "out.jsonl", *SMALL, "--base-url", server.url)
    more = ("--engine-option", "max_retries=0")
    queries: list[str] = []

    def fail_late(request: ReceivedRequest) -> Any:
        if request.path == "/v1/rerank":
            queries.append(request.body["query"])
        return status(503) if len(queries) > 20 else None

    server.decide = fail_late
    failed = run(*arguments, *more)
    assert failed.returncode == 1
    assert "error (StatusError)" in failed.stderr
    assert 0 < finished(folder) < BATCHES
    bad = lists(ROWS)[-1]["documents"][2]
    error = {"error": {"message": "no such text", "code": 400}}

    def refuse(request: ReceivedRequest) -> Any:
        return status(400, error) if bad in str(request.body) else None

    server.decide = refuse
    # With other time limits it is the same job.
    again = run(*arguments, "--engine-option", "timeout=77")
    assert again.returncode == 0, again.stderr
    rows = read(folder / "out.jsonl")
    assert [row["id"] for row in rows if row["__inference_error__"]] == [ROWS - 1]
    assert "StatusError" in rows[-1]["__inference_error__"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("none.jsonl", "out.jsonl"), "no such file"),
        (("in.jsonl", "out.csv"), "must end in .parquet or .jsonl"),
        (("in.jsonl", "in.jsonl"), "is an input"),
        (("in.jsonl", "there.jsonl"), "there already. Take another name, or replace it with"),
        (("in.jsonl", "none/out.jsonl"), "there is no folder none"),
        (("empty.jsonl", "out.jsonl"), "no row in empty.jsonl"),
        (("in.jsonl", "out.jsonl", "--query-column", "q"), "no column 'q'. There are: documents"),
        (("ids.jsonl", "out.jsonl"), "no column 'documents' or 'document', but: id"),
        (
            ("in.jsonl", "out.jsonl", "--documents-column", "a", "--document-column", "b"),
            "Give documents_column",
        ),
        (("in.jsonl", "out.jsonl", "--batch-size", "0"), "--batch-size"),
        (("in.jsonl", "out.jsonl", "--top-n", "0"), "top_n is 0"),
        (("in.jsonl", "out.jsonl", "--concurrency", "2"), "add --ray-address"),
        (("in.jsonl", "out.jsonl", "--resource", "NPU=1"), "add --ray-address"),
        (
            ("in.jsonl", "out.jsonl", "--ray-address", "local", "--resource", "NPU"),
            "such as NPU=1, not 'NPU'",
        ),
        (
            ("in.jsonl", "out.jsonl", "--ray-address", "local", "--concurrency", "0"),
            "--concurrency",
        ),
    ],
)
def test_wrong_arguments_leave_nothing_behind(
    folder: Path, arguments: tuple[str, ...], text: str
) -> None:
    for name, content in (("there", "{}\n"), ("empty", "\n"), ("ids", '{"id": 1}\n')):
        (folder / f"{name}.jsonl").write_text(content)
    before = sorted(folder.iterdir())
    result = invoke("bulk", *arguments, *TINY)
    assert result.exit_code == 2, result.output
    assert text in " ".join(result.stderr.split())
    assert sorted(folder.iterdir()) == before


def test_another_job_s_parts_are_refused_and_discarded_by_fresh(folder: Path) -> None:
    with RerankServer(rerank_only_setup()) as server:
        requests: list[str] = []

        def fail_late(request: ReceivedRequest) -> Any:
            requests.append(request.path)
            return status(500) if len(requests) > 40 else None

        server.decide = fail_late
        failing = (*SMALL, "--base-url", server.url, "--engine-option", "max_retries=0")
        assert invoke("bulk", "in.jsonl", "out.jsonl", *failing).exit_code == 1
    refused = invoke("bulk", "in.jsonl", "out.jsonl", *TINY)
    assert refused.exit_code == 2
    assert "start anew with --fresh" in " ".join(refused.stderr.split())
    replacement = invoke("bulk", "in.jsonl", "out.jsonl", "--fresh", *TINY)
    assert replacement.exit_code == 0, replacement.output
    replaced = invoke("bulk", "in.jsonl", "out.jsonl", "--fresh", "--top-n", "1", *TINY)
    assert replaced.exit_code == 0, replaced.output
    assert {len(row["results"]) for row in read(folder / "out.jsonl")} == {1}


def test_a_log_gets_a_line_with_rate_and_time_left(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qwen3_ascend_retrievers.cli.bulk._LOG_SECONDS", 0.0)
    result = invoke("bulk", "in.jsonl", "out.jsonl", *SMALL, *TINY)
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stderr.splitlines() if "pairs/s" in line]
    assert len(lines) == BATCHES
    assert lines[-1].startswith("60 of 60 rows, ")
    assert lines[-1].endswith("0:00:00 left")


def test_an_interrupted_replacement_goes_on_without_fresh(
    folder: Path, server: RerankServer
) -> None:
    (folder / "out.jsonl").write_text("old\n")
    row = lists(ROWS)[3 * 5]
    gate = Gate(lambda request: row["query"] in query_of(request))
    server.decide = gate
    arguments = ("bulk", "in.jsonl", "out.jsonl", *SMALL, "--base-url", server.url)
    process = start(*arguments, "--fresh")
    try:
        assert gate.reached.wait(600)
        while finished(folder) < 5:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=600)
    finally:
        process.kill()
    assert "The same command without --fresh goes on from there" in errors
    assert (folder / "out.jsonl").read_text() == "old\n"
    gate.opened.set()
    again = run(*arguments)
    assert again.returncode == 0, again.stderr
    assert "Finished before: " in again.stderr
    assert len(read(folder / "out.jsonl")) == ROWS


CASCADE = ("--first-model", "tiny", "--keep", "2", "--threshold", "0.01", *TINY)


def test_a_cascade_s_scores_say_which_stage_they_are_of(folder: Path) -> None:
    rows = lists(2)
    rows[1]["documents"][0] = None
    write_jsonl(folder / "lists.jsonl", rows)
    write_jsonl(folder / "pairs.jsonl", pairs(3))
    for output in ("out.jsonl", "out.parquet"):
        assert invoke("bulk", "lists.jsonl", output, *CASCADE).exit_code == 0
    written = read(folder / "out.jsonl")
    stages = [[result["rerank_stage"] for result in row["results"]] for row in written]
    assert all(row.count(2) <= 2 and 1 in row for row in stages)
    assert [row.count(None) for row in stages] == [0, 1]
    table = parquet.read_table(folder / "out.parquet").to_pylist()
    assert [row["results"] for row in table] == [row["results"] for row in written]
    assert invoke("bulk", "pairs.jsonl", "staged.jsonl", *CASCADE).exit_code == 0
    for at in range(3):
        of_query = [row for row in read(folder / "staged.jsonl") if row["id"].startswith(f"{at}-")]
        by_rank = sorted(of_query, key=lambda row: row["rank"])
        places = [row["rerank_stage"] for row in by_rank]
        assert places == sorted(places, reverse=True)
        assert places.count(1) == 2
    assert invoke("bulk", "pairs.jsonl", "plain.jsonl", *TINY).exit_code == 0
    assert "rerank_stage" not in read(folder / "plain.jsonl")[0]
