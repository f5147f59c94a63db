"""`qwen3-rerank eval` at a real collection's size, with a bar, interrupted and gone on."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Iterable
from pathlib import Path

import ir_measures
import pytest

from support.cli_runs import TINY
from support.terminal import Terminal

DOCUMENTS, QUERIES, DEPTH = 1400, 225, 50
WORDS = """
wing flow heat plate jet shock drag lift nose cone flutter skin panel wake vortex speed layer
nozzle rotor blade slab shell buckling load gust angle body boundary cylinder pressure sphere
stream surface tunnel turbulence velocity weight wedge theory test method result slender thin
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A BEIR collection; each query is a part of a document, and three documents answer it."""
    generator = random.Random(5)
    texts = [" ".join(generator.choices(WORDS.split(), k=6)) for _ in range(DOCUMENTS)]
    sources = generator.sample(range(DOCUMENTS), QUERIES)
    queries = [" ".join(texts[source].split()[1:4]) for source in sources]
    judged = [f"{at}\t{document}\t1" for at, source in enumerate(sources)
              for document in (source, *generator.sample(range(DOCUMENTS), 2))]  # fmt: skip
    for name, rows in (("queries", queries), ("corpus", texts)):
        lines = (json.dumps({"_id": str(at), "text": text}) for at, text in enumerate(rows))
        write_lines(tmp_path / f"{name}.jsonl", lines)
    write_lines(tmp_path / "qrels.tsv", ["query-id\tcorpus-id\tscore", *judged])
    return tmp_path


def eval_of(folder: Path) -> tuple[str, ...]:
    files = [
        f"--{name.partition('.')[0]}={folder / name}"
        for name in ("queries.jsonl", "corpus.jsonl", "qrels.tsv")
    ]
    output = ("--output", str(folder / "reranked.trec"))
    return ("eval", "--bm25", "--depth", str(DEPTH), *files, *output, "--json", *TINY)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


def measured(folder: Path, run: str, measures: Iterable[str]) -> dict[str, float]:
    """What ir-measures says of a run that was written."""
    rows = [line.split("\t") for line in (folder / "qrels.tsv").read_text().splitlines()[1:]]
    values = ir_measures.calc_aggregate(
        [ir_measures.parse_measure(measure) for measure in measures],
        [ir_measures.Qrel(query, document, int(grade)) for query, document, grade in rows],
        list(ir_measures.read_trec_run(str(folder / run))),
    )
    return {str(measure): number for measure, number in values.items()}


def test_a_whole_collection_with_a_bar_survives_ctrl_c(folder: Path) -> None:
    before = set(os.listdir(folder))
    with Terminal(*eval_of(folder), out=folder / "stdout") as terminal:
        # The middle: the bar has moved, and is far from its end.
        terminal.until(rf"reranking .* [1-9]\d/{QUERIES} queries")
        terminal.interrupt()
        assert terminal.finish() == 130, terminal.shown
    assert (folder / "stdout").read_text() == ""
    assert "Traceback" not in terminal.shown
    assert re.search(rf"Finished, and kept in .*: \d+ of {QUERIES} queries", terminal.shown)
    journal = folder / "reranked.trec.journal"
    assert set(os.listdir(folder)) - before == {"stdout", "reranked.trec.bm25", journal.name}
    finished = [json.loads(row) for row in journal.read_text().splitlines()[1:]]
    assert 10 <= len(finished) < QUERIES
    assert {len(row["documents"]) for row in finished} == {DEPTH}

    with Terminal(*eval_of(folder), out=folder / "stdout") as terminal:
        assert terminal.finish() == 0, terminal.shown
    assert f"Finished before: {len(finished)} of {QUERIES} queries." in terminal.shown
    assert re.search(rf"reranking .* {QUERIES}/{QUERIES} queries", terminal.shown)
    assert not journal.exists()
    assert len((folder / "reranked.trec").read_text().splitlines()) == QUERIES * DEPTH
    measures = json.loads((folder / "stdout").read_text())["measures"]
    for when, run in (("before", "reranked.trec.bm25"), ("after", "reranked.trec")):
        expected = measured(folder, run, measures)
        assert {name: values[when] for name, values in measures.items()} == pytest.approx(expected)
        assert 0 < expected["nDCG@10"] < 1
    assert measures["nDCG@10"]["after"] != measures["nDCG@10"]["before"]
