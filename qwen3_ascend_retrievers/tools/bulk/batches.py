"""Batches of rows: what is scored together, and written as one file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import InvalidInputError
from .columns import ERROR_COLUMN, Columns
from .groups import QueryGroup
from .inputs import InputRow


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
    """Each row, or all pairs of a query; rows that cannot be scored stay where they are."""
    if not columns.is_pairs:
        yield from ([row] for row in rows)
        return
    finished: set[bytes] = set()
    group: list[InputRow] = []
    query: str | None = None
    for place, row in enumerate(rows, 1):
        if not row.error and row.query != query:
            if group:
                yield group
            group, query = [], row.query
            digest = hashlib.sha256(query.encode("utf-8", "surrogatepass")).digest()[:16]
            if digest in finished:
                raise InvalidInputError(
                    f"Row {place:,} has a query that was there before, with others between them. "
                    f"Sort the rows by {columns.query!r}: pairs of a query are ranked together."
                )
            finished.add(digest)
        group.append(row)
    if group:
        yield group


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


def failed_rows(values: Sequence[list[Any] | None], columns: Columns) -> int:
    """How many of the rows have an error."""
    at = columns.added.index(ERROR_COLUMN)
    return sum(1 for value in values if value is not None and value[at])
