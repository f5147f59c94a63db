"""Batches of rows: what is scored together, and written as one file."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ...errors import InvalidInputError
from .columns import ERROR_COLUMN, Columns
from .groups import QueryGroup
from .inputs import InputRow
from .tables import import_arrow, with_added


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Rows that follow each other in the input.

    Attributes:
        number: from 0.
        rows: at least one.
    """

    number: int
    rows: tuple[InputRow, ...]


def row_batches(rows: Iterable[InputRow], columns: Columns, pairs: int) -> Iterator[RowBatch]:
    """Batches that depend on nothing but the input, so that a resumed job has the same.

    Args:
        rows: of the input.
        columns: that are read.
        pairs: a batch ends with the first query by which it has so many.

    Raises:
        InvalidInputError: the pairs of a query are apart.
    """
    number, count = 0, 0
    batch: list[InputRow] = []
    for group in _whole_queries(rows, columns):
        batch += group
        count += sum(1 if columns.is_pairs else _length(row.texts) for row in group)
        if count >= pairs:
            yield RowBatch(number, tuple(batch))
            number, count, batch = number + 1, 0, []
    if batch:
        yield RowBatch(number, tuple(batch))


def _whole_queries(rows: Iterable[InputRow], columns: Columns) -> Iterator[list[InputRow]]:
    """Each row, or all pairs of a query."""
    if not columns.is_pairs:
        yield from ([row] for row in rows)
        return
    finished: set[bytes] = set()
    place = 1
    for key, group in groupby(rows, key=lambda row: (type(row.query), row.query, row.error)):
        pairs = list(group)
        digest = hashlib.sha256(repr(key).encode("utf-8", "surrogatepass")).digest()[:16]
        if isinstance(key[1], str) and digest in finished:
            raise InvalidInputError(
                f"Row {place:,} has a query that was there before, with others between them. Sort "
                f"the rows by {columns.query!r}: pairs of a query are ranked together."
            )
        finished.add(digest)
        place += len(pairs)
        yield pairs


def _length(texts: Any) -> int:
    # A row that is wrong counts, too: a batch must end.
    return max(1, len(texts)) if isinstance(texts, list) else 1


def readable(batch: RowBatch) -> list[InputRow]:
    """The rows of a batch that can be scored."""
    return [row for row in batch.rows if not row.error]


def pairs_in(groups: Sequence[QueryGroup]) -> int:
    """How many pairs groups hold."""
    return sum(len(group.documents) for group in groups if isinstance(group.documents, list))


def all_values(
    batch: RowBatch, scored: Sequence[list[Any] | None], columns: Columns
) -> list[list[Any] | None]:
    """What is added to each row of a batch, those included that could not be read.

    Args:
        batch: with all rows.
        scored: what is added to `readable(batch)`.
        columns: that are read and added.
    """
    values = iter(scored)
    nothing = [None] * (len(columns.added) - 1)
    return [[*nothing, row.error] if row.error else next(values) for row in batch.rows]


def as_jsonl(batch: RowBatch, values: Sequence[list[Any] | None], columns: Columns) -> bytes:
    """The rows with what is added to them, as JSON lines."""
    contents = iter(_contents(batch.rows))
    lines = []
    for value in values:
        content = next(contents)
        if value is not None:
            lines.append(_json_line(content | dict(zip(columns.added, value, strict=True))))
    return b"".join(lines)


def _contents(rows: Sequence[InputRow]) -> Iterator[dict[str, Any]]:
    for row in rows:
        if isinstance(row.content, dict):
            yield row.content
        else:
            table, place = row.content
            yield table.slice(place, 1).to_pylist()[0]


def _json_line(row: dict[str, Any]) -> bytes:
    line = json.dumps(row, ensure_ascii=False, default=str) + "\n"
    try:
        return line.encode()
    # A lone surrogate, which only an escape can write.
    except UnicodeEncodeError:
        return (json.dumps(row, default=str) + "\n").encode()


def as_parquet(
    batch: RowBatch, values: Sequence[list[Any] | None], columns: Columns, schema: Any
) -> bytes:
    """The same as a Parquet file; of a JSONL input with the columns of `schema`."""
    arrow = import_arrow()
    from pyarrow import parquet

    if isinstance(batch.rows[0].content, dict):
        table = arrow.Table.from_pylist([row.content for row in batch.rows], schema=schema)
    else:
        slices = [_slice(list(rows)) for _, rows in groupby(batch.rows, key=_table_id)]
        table = arrow.Table.from_batches(slices).cast(schema)
    file = io.BytesIO()
    parquet.write_table(with_added(table, values, columns), file)
    return file.getvalue()


def _table_id(row: InputRow) -> int:
    return id(row.content[0])


def _slice(rows: Sequence[InputRow]) -> Any:
    table, place = rows[0].content
    return table.slice(place, len(rows))


def failed_rows(values: Sequence[list[Any] | None], columns: Columns) -> int:
    """How many of the rows have an error."""
    at = columns.added.index(ERROR_COLUMN)
    return sum(1 for value in values if value is not None and value[at])
