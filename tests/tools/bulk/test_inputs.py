"""Inputs and batches: every row comes out once, whatever is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from qwen3_ascend_retrievers.errors import InvalidInputError
from qwen3_ascend_retrievers.tools.bulk.batches import row_batches
from qwen3_ascend_retrievers.tools.bulk.columns import Columns, neighbours
from qwen3_ascend_retrievers.tools.bulk.inputs import InputFiles, InputRow
from support.bulk_rows import lists, pairs, write_jsonl

LISTS = Columns(query="query", documents="documents")
PAIRS = Columns(query="query", document="document")


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_both_formats_give_the_same_rows(tmp_path: Path) -> None:
    rows = lists(3000, 2)
    files = [write_jsonl(tmp_path / "a.jsonl", rows), write_parquet(tmp_path / "a.PARQUET", rows)]
    for file in files:
        inputs = InputFiles.at(file)
        assert inputs.count() == 3000
        assert inputs.column_names() == ["id", "query", "documents"]
        found = [(row.query, row.texts, row.error) for row in inputs.rows(LISTS)]
        assert found == [(row["query"], row["documents"], "") for row in rows]
    # Arrow's own types; how long a text's offsets are is no difference.
    assert [InputFiles.at(file).schema().names for file in files] == [
        ["id", "query", "documents"]
    ] * 2


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name, rows in (("b", lists(2)), ("a", lists(3)), (".hidden", [])):
        write_jsonl(
            tmp_path / f"{name}.jsonl" if name != ".hidden" else tmp_path / "notes.txt", rows
        )
    assert [row.content["id"] for row in InputFiles.at(tmp_path).rows(LISTS)] == [0, 1, 2, 0, 1]


@pytest.mark.parametrize("names", [[], ["a.txt"], ["a.jsonl", "a.parquet"]])
def test_a_folder_without_one_format_is_refused(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(InvalidInputError, match=r"a folder with files of one of these"):
        InputFiles.at(tmp_path)


@pytest.mark.parametrize("name", ["none.jsonl", "none.parquet"])
def test_a_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match="there is no such file"):
        InputFiles.at(tmp_path / name)


def test_a_line_that_is_no_object_is_a_row_with_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = b'{"query": "q", "documents": []}\n'
    bad = [b"{\n", b"5\n", b'{"a": NaN}\n', b'{"a": 1, "a": 2}\n', b'{"a": "\xff"}\n', b"[" * 9000]
    path.write_bytes(b"\xef\xbb\xbf" + good + b"\n  \n" + b"".join(bad) + b"\n" + good)
    rows = list(InputFiles.at(path).rows(LISTS))
    assert [bool(row.error) for row in rows] == [False, *[True] * 6, False]
    assert "a.jsonl, line 4 is no JSON" in rows[1].error
    assert rows[1].content == {}
    assert InputFiles.at(path).count() == 8


def test_damaged_parquet_is_an_error(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", lists(5000))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InvalidInputError, match="cannot be read as Parquet"):
        InputFiles.at(path).count()
    path.write_bytes(content[:100] + b"\0" * 5000 + content[5100:])
    with pytest.raises(InvalidInputError, match="is damaged, and was read in part"):
        list(InputFiles.at(path).rows(LISTS))


def test_an_empty_jsonl_has_no_columns(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no row"):
        InputFiles.at(write_jsonl(tmp_path / "a.jsonl", [])).column_names()


@pytest.mark.parametrize("value", ["\ud800", 2**70])
def test_what_parquet_cannot_hold_is_known_before_the_work(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"query": value, "documents": []}))
    with pytest.raises(InvalidInputError, match=r"Write \.jsonl, or mend it"):
        InputFiles.at(path).schema()


def test_rows_of_two_types_do_not_fit_into_parquet(tmp_path: Path) -> None:
    rows = [*lists(2048), {"id": "a text", "query": "q", "documents": []}]
    with pytest.raises(InvalidInputError, match="do not fit into one Parquet file"):
        InputFiles.at(write_jsonl(tmp_path / "a.jsonl", rows)).schema()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"query": "query"}, "Give documents_column"),
        ({"query": "query", "documents": "a", "document": "b"}, "Give documents_column"),
        ({"query": "", "documents": "a"}, "must be a non-empty str"),
        ({"query": 5, "documents": "a"}, "must be a non-empty str"),
        ({"query": "a", "documents": "a"}, "cannot hold query and documents"),
    ],
)
def test_wrong_columns(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidInputError, match=text):
        Columns(**arguments)


def test_missing_and_taken_columns() -> None:
    with pytest.raises(InvalidInputError, match=r"no column 'documents'. There are: query, text\."):
        LISTS.check(["query", "text"])
    with pytest.raises(InvalidInputError, match="column 'results' already"):
        LISTS.check(["query", "documents", "results"])
    with pytest.raises(InvalidInputError, match="column 'rank' already"):
        PAIRS.check(["query", "document", "rank"])


def rows_of(rows: list[dict[str, Any]], columns: Columns) -> list[InputRow]:
    return [InputRow(row["query"], row[columns.texts], row) for row in rows]


@given(
    queries=st.integers(1, 30), documents=st.integers(1, 9), size=st.integers(1, 50), of_pairs=...
)
def test_batches_hold_every_row_once_and_no_query_in_two(
    queries: int, documents: int, size: int, of_pairs: bool
) -> None:
    columns = PAIRS if of_pairs else LISTS
    rows = rows_of((pairs if of_pairs else lists)(queries, documents), columns)
    batches = list(row_batches(rows, columns, size))
    assert [row for batch in batches for row in batch.rows] == rows
    assert [batch.number for batch in batches] == [*range(len(batches))]
    held = [{row.query for row in batch.rows} for batch in batches]
    assert sum(map(len, held)) == queries
    per_query = documents
    for queries_of_batch in held[:-1]:
        count = len(queries_of_batch) * per_query
        assert size <= count < size + per_query


def test_pairs_of_a_query_that_are_apart_are_refused() -> None:
    rows = rows_of([*pairs(3), *pairs(1)], PAIRS)
    with pytest.raises(InvalidInputError, match=r"Row 13 has a query .* Sort the rows by 'query'"):
        list(row_batches(rows, PAIRS, 5))


def test_rows_that_are_wrong_part_no_query() -> None:
    rows = rows_of(pairs(2), PAIRS)
    wrong = [InputRow(query, None, {}, "broken") for query in (None, 5, rows[0].query)]
    mixed = [wrong[0], *rows[:2], *wrong, *rows[2:4], wrong[1], *rows[4:]]
    batches = list(row_batches(mixed, PAIRS, 1))
    assert [row for batch in batches for row in batch.rows] == mixed
    assert [len(batch.rows) for batch in batches] == [1, 8, 4]


def test_neighbours_are_equal_and_of_one_type() -> None:
    assert neighbours([1, True, 1.0, "a", "a", None, None]) == [
        range(1),
        range(1, 2),
        range(2, 3),
        range(3, 5),
        range(5, 7),
    ]
