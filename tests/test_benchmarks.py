"""tests/benchmarks still works: a small run of each workload, its record, and the pages made of it.

No time is judged here, and other clients may be missing: then the table names the reason.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from benchmarks import report
from benchmarks.contenders import OURS, RAW, Contender
from benchmarks.records import Records
from benchmarks.scale import FULL, Scale
from benchmarks.server import CannedProcess
from benchmarks.tables import Table
from benchmarks.turns import Turns
from benchmarks.wording import chinese
from benchmarks.workloads import WORKLOADS, Workload

DOCS = Path(__file__).parents[1] / "docs"
SMALL = Scale(
    sizes=(12,), repeats=(1,), rounds=2, documents=11, calls=4, slots=2, latency=0.01,
    waiting_calls=4, waiting_rounds=1, long_call=400, short_call=10, balanced_calls=16,
    server_slots=4, hung_rounds=1, layers=0, passages=4, queries=2, long_passages=2, long_words=60,
    engine_rounds=1, ablation_passages=2, repeated_passages=2, repeated_rounds=1, cold_starts=1,
    streamed=3_000,
)  # fmt: skip


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_a_small_run_fills_its_place_in_the_pages(workload: Workload, tmp_path: Path) -> None:
    records = Records(tmp_path / "records", SMALL)
    records.measure(workload)
    record = records.read(workload)
    assert record is not None
    assert Records(tmp_path / "records", FULL).read(workload) is None
    tables = workload.tables(record["measured"])
    check_words(tables)
    CHECKS.get(workload.name, lambda *_: None)(record["measured"], tables)
    docs = copied_pages(tmp_path)
    before = {page: prose(docs / page) for page in report.PAGES}
    report.write({workload.name: record}, docs)
    assert {page: prose(docs / page) for page in report.PAGES} == before
    for page, translate in report.PAGES.items():
        text = (docs / page).read_text("utf-8")
        assert all(report.markdown(table, translate) in text for table in tables)
    shown = [path.name for path in (docs / "assets").iterdir()]
    assert shown == [path.name for path in DOCS.glob(f"assets/bench-{workload.name}.png")]


def check_words(tables: Sequence[Table]) -> None:
    """A cell's words have a translation, unless they are but the framework of a class."""
    cells = {cell for table in tables for row in (table.columns, *table.rows) for cell in row}
    words = {cell for cell in cells if re.search("[A-Za-z]{2}", re.sub("`.*?`", "", cell))}
    frameworks = {
        "(LangChain)", "(LlamaIndex)", "(Haystack)", "(langchain-reranker)",
        "(sentence-transformers)", "(vLLM)",
    }  # fmt: skip
    same = {cell for cell in words if chinese(cell) == cell}
    assert {cell for cell in same if cell.split()[-1] not in frameworks} == set()


def check_documents(_: Any, tables: Sequence[Table]) -> None:
    rows = {row[0]: list(row[1:]) for row in tables[0].rows}
    assert rows[RAW] == ["1", "1"]
    assert re.fullmatch(r"[\d.]+ \([\d.]+-[\d.]+\)", rows[OURS][0])
    reason = "`ModuleNotFoundError: No module named 'langchain_reranker'`"
    assert rows["`HttpReranker` (langchain-reranker)"] == [reason, "-"]


def check_waiting(measured: Any, _: Sequence[Table]) -> None:
    assert [run["ends"] for (run,) in measured["runs"].values()] == [{"right": 4}] * 2


def check_balance(measured: Any, _: Sequence[Table]) -> None:
    (hung,) = measured["hung"]
    assert hung["ends"] == {"right": 16}
    assert hung["most_timeouts"] >= 1


CHECKS = {"documents": check_documents, "waiting": check_waiting, "balance": check_balance}


def copied_pages(folder: Path) -> Path:
    """A copy of the pages, to be written."""
    (folder / "assets").mkdir()
    for page in report.PAGES:
        shutil.copy(DOCS / page, folder)
    return folder


def prose(page: Path) -> str:
    """A page without what is between the marks."""
    return re.sub(r"(bench:[\w-]+ -->).*?(<!-- /)", r"\1\2", page.read_text("utf-8"), flags=re.S)


def test_the_pages_have_a_place_for_each_workload_and_no_other() -> None:
    for page in report.PAGES:
        places = re.findall(r"<!-- bench:([\w-]+) -->", (DOCS / page).read_text("utf-8"))
        assert places == [report.MACHINE, *(workload.name for workload in WORKLOADS)]


def test_a_contender_that_disagrees_is_refused() -> None:
    with CannedProcess() as server:
        turns = Turns(server)
        right, wrong = Contender("right", lambda: [1, 0]), Contender("wrong", lambda: [0, 1])
        agreeing = turns.agreeing([right, wrong])
        turns.take(agreeing, rounds=2, repeats=1)
    assert agreeing == [right]
    record = turns.record()
    assert list(record["samples"]) == ["right"]
    assert record["refused"] == {"wrong": "ranks [0, 1], not [1, 0]"}
