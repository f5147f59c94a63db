"""Files that are odd, and places that are: nothing is lost, and each refusal says what to do."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import Result

from support.bulk_rows import lists, pairs, write_jsonl
from support.cli_runs import TINY, invoke


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bulk(*arguments: str) -> Result:
    return invoke("bulk", *arguments, *TINY)


def succeed(*arguments: str) -> None:
    result = bulk(*arguments)
    assert result.exit_code == 0, result.output


def refusal(*arguments: str) -> str:
    result = bulk(*arguments)
    assert result.exit_code == 2, result.output
    return " ".join(result.stderr.split())


def write(path: str, **columns: Any) -> None:
    Path(path).parent.mkdir(exist_ok=True)
    parquet.write_table(pa.table(columns), path)


def read(path: str) -> list[dict[str, Any]]:
    if path.endswith("parquet"):
        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
        return rows
    lines = Path(path).read_text("utf-8").splitlines()
    return [json.loads(line, parse_constant=pytest.fail) for line in lines]


@pytest.mark.parametrize(
    ("module", "arguments", "line"),
    [
        ("pyarrow", ("in.parquet", "out.parquet"), "'qwen3-ascend-retrievers[parquet]'"),
        ("ray", ("a.jsonl", "b.jsonl", "--ray-address", "local"), "'qwen3-ascend-retrievers[ray]'"),
    ],
)
def test_a_missing_library_is_named_with_its_install_line(
    module: str, arguments: tuple[str, ...], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("in.parquet", **TEXTS)
    write_jsonl(Path("a.jsonl"), lists(2))
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, f"{module}.data", None)
    result = bulk(*arguments)
    assert result.exit_code == 1, result.output
    assert f"pip install {line}" in " ".join(result.stderr.split())


QUERY = pa.array(["w", "w", "v"])
TEXTS = {"query": ["w"], "documents": [["a"]]}


@pytest.mark.parametrize("output", ["out.parquet", "out.jsonl"])
def test_a_threshold_that_no_pair_of_a_batch_reaches(output: str) -> None:
    write("in.parquet", query=QUERY, document=["a", "b", "c"])
    succeed("in.parquet", output, "--threshold", "1", "--batch-size", "2")
    assert read(output) == []


@pytest.mark.parametrize(
    "other",
    [
        {"documents": [["a"]], "query": ["w"], "n": [1]},
        {"query": pa.array(["w"], pa.large_string()), "documents": [["a"]], "n": [1]},
        {**TEXTS, "n": [1.5]},
        TEXTS,
        {**TEXTS, "n": [1], "more": [True]},
    ],
    ids=["order", "large text", "number", "column less", "column more"],
)
def test_files_of_a_folder_may_differ_in_what_arrow_can_join(other: dict[str, Any]) -> None:
    write("in/a.parquet", **TEXTS, n=[2])
    write("in/b.parquet", **other)
    succeed("in", "out.parquet")
    first, second = read("out.parquet")
    assert (first["n"], first["query"]) == (2, "w")
    assert second["n"] == (other["n"][0] if "n" in other else None)
    assert len(second["results"]) == 1


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("n", pa.array(["text"])),
        ("meta", pa.array([{}], pa.struct([]))),
    ],
)
def test_what_parquet_cannot_hold_is_refused_before_the_work(column: str, values: Any) -> None:
    rows = [{**{name: value[0] for name, value in TEXTS.items()}, "n": 1}]
    write_jsonl(Path("a.jsonl"), [*rows * 1024, rows[0] | {column: values[0].as_py()}])
    text = refusal("a.jsonl", "out.parquet")
    assert "do not fit into one Parquet file" in text
    assert os.listdir() == ["a.jsonl"]


def test_a_number_that_no_column_holds_exactly_is_a_readable_error() -> None:
    row = {"query": "w", "documents": ["a"]}
    write_jsonl(Path("a.jsonl"), [row | {"v": 2**60 + 1}] * 1024 + [row | {"v": 1.5}])
    assert "does not fit into the Parquet file" in refusal("a.jsonl", "out.parquet")


def test_names_that_arrow_uses_itself_are_columns_like_others() -> None:
    write("in.parquet", **TEXTS, __filename=["x"])
    succeed("in.parquet", "out.parquet")
    assert parquet.ParquetFile("out.parquet").read().column("__filename").to_pylist() == ["x"]


@pytest.mark.parametrize("name", ["results", "__inference_error__"])
def test_a_column_of_ours_in_a_later_line_is_not_replaced(name: str) -> None:
    rows = lists(1100, 1)
    rows[1099][name] = "precious"
    write_jsonl(Path("a.jsonl"), rows)
    assert f"a.jsonl, row 1100 has a column '{name}' already" in refusal("a.jsonl", "out.jsonl")
    assert not Path("out.jsonl").exists()
    assert f"a column '{name}' already" in refusal("a.jsonl", "out.parquet")


def test_two_columns_of_one_name_are_refused() -> None:
    table = pa.Table.from_arrays([QUERY, QUERY, QUERY], ["query", "document", "query"])
    parquet.write_table(table, "in.parquet")
    assert "two columns 'query'" in refusal("in.parquet", "out.jsonl")


def test_rows_that_cannot_be_read_part_no_query() -> None:
    rows = pairs(2)
    lines = [json.dumps(row) for row in rows]
    null = json.dumps({"query": None, "document": "x"})
    Path("a.jsonl").write_text("\n".join([*lines[:2], "{oops", null, *lines[2:]]))
    succeed("a.jsonl", "out.jsonl")
    rows_out = read("out.jsonl")
    assert [bool(row["__inference_error__"]) for row in rows_out] == [False] * 2 + [True] * 2 + [
        False
    ] * 6
    assert sorted(row["rank"] for row in rows_out[:2] + rows_out[4:6]) == [1, 2, 3, 4]


def test_pairs_that_are_apart_are_refused_before_the_work() -> None:
    write_jsonl(Path("a.jsonl"), [*pairs(300), pairs(1)[0]])
    assert "Row 1,201 has a query that was there before" in refusal("a.jsonl", "out.jsonl")
    assert os.listdir() == ["a.jsonl"]


def test_what_is_no_number_is_null_in_json() -> None:
    write("in.parquet", **TEXTS, n=[float("nan")], m=[[float("inf"), 1.0]])
    succeed("in.parquet", "out.jsonl")
    (row,) = read("out.jsonl")
    assert (row["n"], row["m"]) == (None, [None, 1.0])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (pa.array([b"\xff"]), "JSON holds no bytes"),
        (pa.array([2**60], pa.timestamp("us")), "cannot be written as JSON"),
    ],
)
def test_what_json_cannot_hold_is_refused(value: pa.Array, text: str) -> None:
    write("in.parquet", **TEXTS, x=value)
    assert text in refusal("in.parquet", "out.jsonl")
    succeed("in.parquet", "out.parquet")


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_something_else_in_the_place_of_the_parts_is_left_alone(kind: str) -> None:
    write_jsonl(Path("a.jsonl"), lists(2))
    parts = Path("out.jsonl.parts")
    precious = parts if kind == "file" else parts / "precious.txt"
    precious.parent.mkdir(exist_ok=True)
    precious.write_text("precious")
    for more in ((), ("--fresh",)):
        assert "holds other things" in refusal("a.jsonl", "out.jsonl", *more)
    assert precious.read_text() == "precious"


def test_the_parts_may_be_a_link_to_another_disk() -> None:
    write_jsonl(Path("a.jsonl"), lists(2))
    Path("disk").mkdir()
    Path("out.jsonl.parts").symlink_to("disk")
    succeed("a.jsonl", "out.jsonl")
    assert len(read("out.jsonl")) == 2
    assert list(Path("disk").iterdir()) == []


def test_an_output_keeps_its_link_and_its_permissions() -> None:
    write_jsonl(Path("a.jsonl"), lists(2))
    Path("real.jsonl").write_text("old\n")
    Path("real.jsonl").chmod(0o600)
    Path("out.jsonl").symlink_to("real.jsonl")
    succeed("a.jsonl", "out.jsonl", "--fresh")
    assert Path("out.jsonl").is_symlink()
    assert len(read("real.jsonl")) == 2
    assert Path("real.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{oops\n[\n", "no row in a.jsonl. InvalidInputError: a.jsonl, line 1 is no JSON"),
        (
            '{}\n{"query": "w", "docs": []}\n',
            "no column 'documents' or 'document', but: query, docs",
        ),
    ],
)
def test_what_is_wrong_with_the_columns_is_said(content: str, text: str) -> None:
    Path("a.jsonl").write_text(content)
    assert text in refusal("a.jsonl", "out.jsonl")


def test_odd_inputs_and_outputs_are_named_as_they_are() -> None:
    write_jsonl(Path("a.jsonl"), lists(1))
    os.mkfifo("pipe.jsonl")
    assert "it is no regular file" in refusal("pipe.jsonl", "out.jsonl")
    Path("out.jsonl").mkdir()
    assert "it is a folder" in refusal("a.jsonl", "out.jsonl")
    Path("in/x.parquet").mkdir(parents=True)
    assert "folder with files" in refusal("in", "b.jsonl")
