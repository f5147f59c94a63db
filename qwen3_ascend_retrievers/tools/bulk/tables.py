"""Results as columns of an Arrow table."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from ...errors import MissingDependencyError
from .columns import STAGE_COLUMN, Columns, neighbours, pair_values, row_values
from .groups import GroupRanking, QueryGroup


def import_arrow() -> Any:
    """The module pyarrow.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        return import_module("pyarrow")
    except ImportError as error:
        raise MissingDependencyError(
            "Parquet needs pyarrow: pip install 'qwen3-ascend-retrievers[parquet]'. Files that end "
            "in .jsonl need nothing."
        ) from error


def added_fields(columns: Columns) -> list[Any]:
    """The Arrow fields of `columns.added`."""
    arrow = import_arrow()
    stage = [(STAGE_COLUMN, arrow.int64())] if columns.staged else []
    result = arrow.struct(
        [
            ("index", arrow.int64()),
            ("relevance_score", arrow.float64()),
            ("truncated", arrow.bool_()),
            *stage,
        ]
    )
    pair = [arrow.float64(), arrow.int64(), arrow.bool_(), *(kind for _, kind in stage)]
    types = [*(pair if columns.is_pairs else [arrow.list_(result)]), arrow.string()]
    return [arrow.field(name, kind) for name, kind in zip(columns.added, types, strict=True)]


def groups_of(queries: Sequence[Any], texts: Sequence[Any], columns: Columns) -> list[QueryGroup]:
    """The groups of a table's rows: each row, or neighbouring pairs of the same query."""
    if not columns.is_pairs:
        return [
            QueryGroup(query, documents) for query, documents in zip(queries, texts, strict=True)
        ]
    return [
        QueryGroup(queries[places.start], list(texts[places.start : places.stop]))
        for places in neighbours(queries)
    ]


def added_values(
    rankings: Sequence[GroupRanking], queries: Sequence[Any], columns: Columns
) -> list[list[Any] | None]:
    """What is added to each row, in the order of the columns; None for a row that is left out."""
    if not columns.is_pairs:
        return [row_values(ranking, columns.staged) for ranking in rankings]
    rows: list[list[Any] | None] = []
    for ranking, places in zip(rankings, neighbours(queries), strict=True):
        rows += pair_values(ranking, len(places), columns.staged)
    return rows


def with_schema(table: Any, schema: Any) -> Any:
    """`table` with the columns of `schema`, in that order and of those types; nulls for others."""
    arrow = import_arrow()
    columns = [
        table.column(field.name).cast(field.type)
        if field.name in table.column_names
        else arrow.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return arrow.Table.from_arrays(columns, schema=schema)


def with_added(table: Any, values: Sequence[Sequence[Any] | None], columns: Columns) -> Any:
    """`table` with the results' columns, without the rows that are left out."""
    arrow = import_arrow()
    places = [place for place, value in enumerate(values) if value is not None]
    if len(places) < len(values):
        table = table.take(arrow.array(places, arrow.int64()))
    for at, field in enumerate(added_fields(columns)):
        column = [value[at] for value in values if value is not None]
        table = table.append_column(field, arrow.array(column, field.type))
    return table
