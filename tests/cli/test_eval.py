"""`qwen3-rerank eval`: whole, interrupted, gone on, and failing, by the installed script."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import ir_measures
import pytest
from typer.testing import Result

from support.cli_runs import TINY, invoke, start
from support.rerank_answers import rerank_only_setup
from support.rerank_faults import Gate, status
from support.rerank_server import Fault, ReceivedRequest, RerankServer

TOPICS = ("wing slipstream", "heat slab", "bread flour", "capital Beijing", "gravity force")


@pytest.fixture
def collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five queries of which the last but one is GATED, ten documents, one relevant for each."""
    monkeypatch.chdir(tmp_path)
    queries = [
        {"_id": f"q{at}", "text": f"what of {topic}{' GATED' if at == 3 else ''}"}
        for at, topic in enumerate(TOPICS)
    ]
    corpus = [
        {"_id": f"{'rx'[half]}{at}", "title": topic.split()[half], "text": f"about {topic}"}
        if half == 0
        else {"_id": f"x{at}", "title": "", "text": f"what of {topic.split()[0]} and what of this"}
        for at, topic in enumerate(TOPICS)
        for half in (0, 1)
    ]
    for name, rows in (("queries", queries), ("corpus", corpus)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    qrels = "query-id\tcorpus-id\tscore\n" + "".join(f"q{at}\tr{at}\t1\n" for at in range(5))
    (tmp_path / "qrels.tsv").write_text(qrels)
    run = "".join(
        f"q{at} Q0 {name}{other} 1 {score} first\n"
        for at in range(5)
        for score, (name, other) in enumerate((n, o) for n in "rx" for o in range(5))
    )
    (tmp_path / "run.trec").write_text(run)
    return tmp_path


FILES = ("--queries", "queries.jsonl", "--corpus", "corpus.jsonl", "--qrels", "qrels.tsv")
RUN = ("--run", "run.trec", *FILES)


def query_of(request: ReceivedRequest) -> str:
    return str((request.body or {}).get("query"))


def is_gated(request: ReceivedRequest) -> bool:
    return "GATED" in query_of(request)


def refuse_gated(request: ReceivedRequest) -> Fault | None:
    error = {"error": {"message": "no such thing", "code": 400}}
    return status(400, error) if is_gated(request) else None


def on_the_written_run(measure: str) -> float:
    values = ir_measures.calc_aggregate(
        [ir_measures.parse_measure(measure)],
        [ir_measures.Qrel(f"q{at}", f"r{at}", 1) for at in range(5)],
        ir_measures.read_trec_run("reranked.trec"),
    )
    return float(next(iter(values.values())))


def kept_of_the_written_run(threshold: float) -> tuple[int, int]:
    """How many documents score at least `threshold`, and how many of those are relevant."""
    run = list(ir_measures.read_trec_run("reranked.trec"))
    kept = [scored for scored in run if scored.score >= threshold]
    return len(kept), sum(scored.doc_id == f"r{scored.query_id[1:]}" for scored in kept)


def test_bm25_and_tiny_with_every_output(collection: Path) -> None:
    more = ("--depth", "4", "--plot", "a.png", "--per-query", "q.tsv", "--measure", "nDCG@10")
    result = invoke("eval", "--bm25", *FILES, *more, "--measure", "R@3", "--json", *TINY)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["model"] == "tiny"
    assert report["measures"].keys() == {"nDCG@10", "R@3"}
    for name, values in report["measures"].items():
        assert values["after"] == pytest.approx(on_the_written_run(name))
    for effect in [*report["thresholds"], report["highest_f1"]]:
        kept, relevant = kept_of_the_written_run(effect["threshold"])
        assert (effect["kept"], effect["relevant"]) == (kept, relevant)
        assert effect["precision"] == (relevant / kept if kept else None)
        assert effect["recall"] == relevant / 5
    assert report["thresholds"][0]["kept"] == 20
    best_grid = max(effect["f1"] for effect in report["thresholds"])
    assert report["highest_f1"]["f1"] >= best_grid > 0
    assert (collection / "a.png").read_bytes().startswith(b"\x89PNG")
    rows = (collection / "q.tsv").read_text().splitlines()
    assert rows[0].split("\t") == ["query", "measure", "before", "after", "delta"]
    assert len(rows) == 11
    assert len((collection / "reranked.trec.bm25").read_text().splitlines()) == 20
    assert not (collection / "reranked.trec.journal").exists()


def test_the_threshold_table_fits_a_terminal_of_80_columns(collection: Path) -> None:
    # One relevant document that no run can have, one grade of 0, and one query without relevance.
    (collection / "qrels.tsv").write_text("q0\tr0\t1\nq0\tr9\t1\nq0\tx0\t0\nq4\tx4\t0\n")
    result = invoke("eval", *RUN, "--depth", "10", *TINY, columns=80)
    assert result.exit_code == 0, result.output
    table = result.stdout.partition("\n\n")[2].splitlines()
    headings = "threshold kept relevant unjudged precision recall F1 empty"
    assert table[0].split() == headings.split()
    everything = table[1].split()
    assert everything == ["0.0", "20", "1", "17", "0.0500", "0.5000", "0.0909", "0"]
    assert sum(line.split()[1] == "*" for line in table[1:-1]) == 1
    thresholds = [float(line.split()[0]) for line in table[1:-1]]
    assert thresholds == sorted(set(thresholds))
    assert table[-1].strip() == "* the highest F1"


def test_without_a_relevant_document_there_is_no_best_threshold(collection: Path) -> None:
    (collection / "qrels.tsv").write_text("q0\tx0\t0\nq0\tr9\t1\n")
    result = invoke("eval", *RUN, "--json", *TINY)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["highest_f1"] is None
    assert {effect["recall"] for effect in report["thresholds"]} == {0}
    assert "*" not in invoke("eval", *RUN, *TINY).stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_a_journal_and_the_same_command_goes_on(
    collection: Path, number: signal.Signals, code: int
) -> None:
    before = set(os.listdir(collection))
    gate = Gate(is_gated)
    with RerankServer(rerank_only_setup(), gate) as server:
        arguments = ("eval", *RUN, "--base-url", server.url)
        process = start(*arguments)
        try:
            assert gate.reached.wait(600)
            process.send_signal(number)
            output, errors = process.communicate(timeout=600)
        finally:
            process.kill()
        assert process.returncode == code, errors
        assert output == ""
        assert "Finished, and kept in reranked.trec.journal: 3 of 5 queries." in errors
        assert "Traceback" not in errors
        assert set(os.listdir(collection)) - before == {"reranked.trec.journal"}
        gate.opened.set()
        server.requests.clear()
        # More patience is no other reranking.
        result = invoke(*arguments, "--json", "--engine-option", "timeout=77")
        assert result.exit_code == 0, result.output
        assert "Finished before: 3 of 5 queries." in result.stderr
        queries = [query_of(request) for request in server.requests]
        assert not any(topic in query for query in queries for topic in TOPICS[:3])
    after = json.loads(result.stdout)["measures"]["nDCG@10"]
    assert after["after"] == pytest.approx(on_the_written_run("nDCG@10"))
    assert after["after"] > after["before"]
    assert set(os.listdir(collection)) - before == {"reranked.trec"}


def invoke_with_exchanged_documents(arguments: tuple[str, ...]) -> Result:
    """The command with the first two documents of the journal's second query exchanged."""
    journal = Path("reranked.trec.journal")
    whole = journal.read_bytes()
    lines = journal.read_text().splitlines()
    row = json.loads(lines[2])
    first, second = row["documents"][:2]
    first[0], second[0] = second[0], first[0]
    lines[2] = json.dumps(row)
    journal.write_text("".join(f"{line}\n" for line in lines))
    try:
        return invoke(*arguments)
    finally:
        journal.write_bytes(whole)


def test_a_failing_server_keeps_what_is_finished(collection: Path) -> None:
    with RerankServer(rerank_only_setup(), refuse_gated) as server:
        arguments = ("eval", *RUN, "--base-url", server.url)
        failed = invoke(*arguments)
        assert failed.exit_code == 1, failed.output
        assert ": 3 of 5 queries." in failed.stderr
        assert "error (StatusError)" in failed.stderr
        assert "no such thing" in failed.stderr
        other = invoke(*arguments, "--instruction", "Find wings")
        assert other.exit_code == 2
        assert "other settings" in other.stderr
        damaged = invoke_with_exchanged_documents(arguments)
        assert damaged.exit_code == 2, damaged.output
        assert "reranked.trec.journal, line 3 is damaged" in damaged.stderr
        assert "Finished, and kept" not in damaged.stderr
        assert not (collection / "reranked.trec").exists()
        server.decide = lambda request: None
        result = invoke(*arguments)
        assert result.exit_code == 0, result.output
        assert "Finished before: 3 of 5 queries." in result.stderr
        assert "nDCG@10" in result.stdout
        fresh = invoke(*arguments, "--fresh", "--instruction", "Find wings")
        assert fresh.exit_code == 0, fresh.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*FILES,), "Give either --run FILE or --bm25"),
        ((*RUN, "--bm25"), "Give either --run FILE or --bm25"),
        ((*RUN, "-o", "no/such.trec"), "there is no folder no"),
        ((*RUN, "--plot", "."), "it is a folder"),
        ((*RUN, "-o", "."), "it is a folder"),
        ((*RUN, "-o", "/"), "it is a folder"),
        ((*RUN, "--measure", "nDGC"), "no measure 'nDGC'"),
        ((*RUN, "--depth", "0"), "--depth must be"),
        (("--run", "gone", *FILES), "gone cannot be read"),
        ((*RUN, "--measure", "nDCG@0"), "The cutoff of 'nDCG@0' must be at least 1"),
        ((*RUN, "-o", "run.trec"), "run.trec is an input or another result"),
        ((*RUN, "-o", "../{folder}/queries.jsonl"), "queries.jsonl is an input or another result"),
        ((*RUN, "--per-query", "a", "--plot", "a"), "a is an input or another result"),
        ((*RUN, "--plot", "reranked.trec.journal"), "is an input or another result"),
    ],
)
def test_wrong_input_is_refused_before_any_work(
    collection: Path, arguments: tuple[str, ...], message: str
) -> None:
    before = {path.name: path.read_bytes() for path in collection.iterdir()}
    arguments = tuple(part.format(folder=collection.name) for part in arguments)
    result = invoke("eval", *arguments, *TINY)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert {path.name: path.read_bytes() for path in collection.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("queries.jsonl", '{"_id": "q9", "text": " "}', "the query q9 has a blank text"),
        ("queries.jsonl", '{"_id": "q 9", "text": "x"}', "the id 'q 9' is empty or holds"),
        ("corpus.jsonl", '{"_id": "d 1", "text": "x"}', "the id 'd 1' is empty or holds"),
        ("qrels.tsv", "q1\td 1\t1", "the id 'd 1' is empty or holds"),
        ("run.trec", "q1 Q0 r1000 1 1e39 first", "a finite score"),
    ],
)
def test_files_that_cannot_be_measured_are_refused_before_any_work(
    collection: Path, name: str, line: str, message: str
) -> None:
    before = set(os.listdir(collection))
    with (collection / name).open("a") as file:
        file.write(f"{line}\n")
    run = ("--run", name) if name == "run.trec" else ("--bm25",)
    result = invoke("eval", *run, *FILES, *TINY)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert set(os.listdir(collection)) == before


def test_a_run_without_judgements_is_refused_before_any_work(collection: Path) -> None:
    before = set(os.listdir(collection))
    (collection / "qrels.tsv").write_text("other\tr1\t1\n")
    result = invoke("eval", *RUN, *TINY)
    assert (result.exit_code, "No query of the run has judgements" in result.stderr) == (2, True)
    assert set(os.listdir(collection)) == before


def test_queries_without_a_counterpart_are_counted(collection: Path) -> None:
    (collection / "qrels.tsv").write_text("q0\tr0\t1\nq7\tr1\t1\nq8\tr1\t1\n")
    result = invoke("eval", *RUN, *TINY)
    assert result.exit_code == 0, result.output
    assert "Not in the run, and counted as 0: 2 of 3 judged queries." in result.stderr
    assert "Not judged, and not measured: 4 of the run's 5 queries." in result.stderr


def test_the_run_needs_a_file_and_the_rest_does_not(collection: Path) -> None:
    os.mkfifo(collection / "fifo")
    refused = invoke("eval", *RUN, "-o", "fifo", *TINY)
    assert (refused.exit_code, "fifo cannot be written: it is no" in refused.stderr) == (2, True)
    reader = os.open("fifo", os.O_RDONLY | os.O_NONBLOCK)
    try:
        result = invoke("eval", *RUN, "--per-query", "fifo", *TINY)
        assert result.exit_code == 0, result.output
        assert os.read(reader, 10_000).startswith(b"query\tmeasure\t")
    finally:
        os.close(reader)
    assert (collection / "fifo").is_fifo()
