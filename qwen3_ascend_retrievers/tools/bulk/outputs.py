"""Rows with their results as JSON lines or Parquet."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from ...errors import InvalidInputError
from .batches import RowBatch
from .columns import Columns
from .inputs import InputRow
from .tables import import_arrow, with_added, with_schema

RowValues = Sequence[list[Any] | None]


def as_jsonl(batch: RowBatch, values: RowValues, columns: Columns) -> bytes:
    """The rows with what is added to them, as JSON lines; NaN and infinity, as JSON has it: null.

    Args:
        batch: with all rows.
        values: what is added to each row; None leaves it out.
        columns: that are added.

    Raises:
        InvalidInputError: a value that JSON cannot hold, such as bytes.
    """
    lines = []
    for content, value in zip(_contents(batch.rows), values, strict=True):
        if value is not None:
            lines.append(_json_line(content | dict(zip(columns.added, value, strict=True))))
    return b"".join(lines)


def _contents(rows: Sequence[InputRow]) -> Iterator[dict[str, Any]]:
    for row in rows:
        if isinstance(row.content, dict):
            yield row.content
            continue
        table, place = row.content
        try:
            (content,) = table.slice(place, 1).to_pylist()
        except (ValueError, OverflowError) as error:
            raise InvalidInputError(
                f"A value cannot be written as JSON: {error}. Write .parquet."
            ) from error
        yield content


def _json_line(row: dict[str, Any]) -> bytes:
    try:
        line = json.dumps(row, ensure_ascii=False, allow_nan=False, default=_json_value)
    except ValueError:
        row = _finite(row)
        line = json.dumps(row, ensure_ascii=False, default=_json_value)
    try:
        return (line + "\n").encode()
    # A lone surrogate, which only an escape can write.
    except UnicodeEncodeError:
        return (json.dumps(row, default=_json_value) + "\n").encode()


def _json_value(value: Any) -> str:
    """A date, a decimal or the like as text."""
    if isinstance(value, bytes):
        raise InvalidInputError("JSON holds no bytes: write .parquet, or leave that column out.")
    return str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list) else value


def as_parquet(batch: RowBatch, values: RowValues, columns: Columns, schema: Any) -> bytes:
    """The rows with what is added to them, as a Parquet file.

    Args:
        batch: with all rows.
        values: what is added to each row; None leaves it out.
        columns: that are added.
        schema: of the input's columns, the same for all batches.

    Raises:
        InvalidInputError: a value that does not fit the schema.
    """
    arrow = import_arrow()
    from pyarrow import parquet

    file = io.BytesIO()
    try:
        parquet.write_table(with_added(_table(batch.rows, schema), values, columns), file)
    except (arrow.ArrowException, OverflowError) as error:
        raise InvalidInputError(
            f"A row does not fit into the Parquet file: {error}. Write .jsonl, or mend it."
        ) from error
    return file.getvalue()


def _table(rows: Sequence[InputRow], schema: Any) -> Any:
    arrow = import_arrow()
    if isinstance(rows[0].content, dict):
        return arrow.Table.from_pylist([row.content for row in rows], schema=schema)
    slices = []
    for _, group in groupby(rows, key=lambda row: id(row.content[0])):
        neighbours = list(group)
        table, place = neighbours[0].content
        part = table.slice(place, len(neighbours))
        slices.append(with_schema(arrow.Table.from_batches([part]), schema))
    return arrow.concat_tables(slices)
