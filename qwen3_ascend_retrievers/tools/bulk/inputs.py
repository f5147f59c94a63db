"""Rows of Parquet and JSONL files, one after another, with what is read of them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from ...core.validation import check_query
from ...errors import InvalidInputError
from ..documents.files import json_object
from .columns import Columns
from .groups import error_text
from .tables import import_arrow, with_schema

PARQUET: Final = ".parquet"
JSONL: Final = ".jsonl"
FORMATS: Final = (PARQUET, JSONL)
_BATCH_ROWS: Final = 1024


@dataclass(frozen=True, slots=True)
class InputRow:
    """A row of the input.

    Attributes:
        query: as it is there, of any type.
        texts: the documents or the document, likewise.
        content: of JSONL all of it; of Parquet a batch and the row's place in it.
        error: why it could not be read; "" if it could.
    """

    query: Any
    texts: Any
    content: Any
    error: str = ""


@dataclass(frozen=True, slots=True)
class InputFiles:
    """Files of one format, in the order in which they are read.

    Attributes:
        paths: at least one.
        format: their ending, ".parquet" or ".jsonl".
    """

    paths: tuple[Path, ...]
    format: str

    @classmethod
    def at(cls, path: Path) -> InputFiles:
        """The file at `path`, or the files of a folder in the order of their names.

        Raises:
            InvalidInputError: there is none, or they are of two formats.
        """
        paths = [path]
        if path.is_dir():
            paths = sorted(
                child for child in path.iterdir() if format_of(child) in FORMATS and child.is_file()
            )
        formats = {format_of(child) for child in paths}
        if not paths or len(formats) > 1 or not formats <= {*FORMATS}:
            raise InvalidInputError(
                f"{path} must be a file that ends in {' or '.join(FORMATS)}, or a folder with "
                "files of one of these."
            )
        for child in paths:
            if not child.is_file():
                what = "it is no regular file" if child.exists() else "there is no such file"
                raise InvalidInputError(f"{child} cannot be read: {what}.")
        return cls(tuple(paths), formats.pop())

    def column_names(self) -> list[str]:
        """The columns of the first file; of JSONL those of the first thousand lines.

        Raises:
            InvalidInputError: there is no row, or none of those lines is a JSON object.
        """
        if self.format == PARQUET:
            return list(_opened(self.paths[0]).schema_arrow.names)
        rows = (row for path in self.paths for row in _json_rows(path))
        first = list(islice(rows, _BATCH_ROWS))
        names = dict.fromkeys(name for row in first for name in row.content)
        if not names:
            reason = first[0].error if first else ""
            raise InvalidInputError(f"There is no row in {self.paths[0]}. {reason}".rstrip())
        return list(names)

    def count(self) -> int:
        """How many rows there are; of JSONL how many lines that are not blank."""
        if self.format == PARQUET:
            return sum(_opened(path).metadata.num_rows for path in self.paths)
        count = 0
        for path in self.paths:
            with path.open("rb") as file:
                count += sum(1 for line in file if line.strip())
        return count

    def rows(self, columns: Columns) -> Iterator[InputRow]:
        """All rows.

        Raises:
            InvalidInputError: a Parquet file is damaged, or lacks a column.
        """
        for path in self.paths:
            if self.format == PARQUET:
                yield from _parquet_rows(path, columns)
            else:
                for number, row in enumerate(_json_rows(path), 1):
                    if added := {*columns.added} & row.content.keys():
                        raise InvalidInputError(
                            f"{path.name}, row {number} has a column {min(added)!r} already, which "
                            "would be replaced. Give it another name first."
                        )
                    texts = row.content.get(columns.texts)
                    query = row.content.get(columns.query)
                    yield InputRow(query, texts, row.content, row.error or _query_error(query))

    def schema(self) -> Any:
        """The Arrow schema of all rows; JSONL is read once for it.

        Raises:
            InvalidInputError: rows contradict each other, or hold what Arrow cannot.
        """
        arrow = import_arrow()
        if self.format == PARQUET:
            parts = [_opened(path).schema_arrow for path in self.paths]
        else:
            parts = [
                _schema_of(chunk, path)
                for path in self.paths
                for chunk in _chunks(_json_rows(path))
            ]
        try:
            schema = arrow.unify_schemas(parts, promote_options="permissive")
            for part in parts:
                with_schema(part.empty_table(), schema)
            _check_parquet(schema)
        except arrow.ArrowException as error:
            raise InvalidInputError(
                f"The rows of {', '.join(map(str, self.paths[:3]))} do not fit into one Parquet "
                f"file: {error}. Write .jsonl, or mend them."
            ) from error
        return schema


def _query_error(query: Any) -> str:
    try:
        check_query(query)
    except InvalidInputError as error:
        return error_text(error)
    return ""


def format_of(path: Path) -> str:
    """A file's ending in lower case."""
    return path.suffix.lower()


def _check_parquet(schema: Any) -> None:
    """Raise ArrowException for types that Parquet lacks, such as a struct without fields."""
    from pyarrow import parquet

    parquet.write_table(schema.empty_table(), io.BytesIO())


def _opened(path: Path) -> Any:
    arrow = import_arrow()
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(path)
    except (arrow.ArrowException, OSError) as error:
        raise InvalidInputError(f"{path} cannot be read as Parquet: {error}.") from error


def _parquet_rows(path: Path, columns: Columns) -> Iterator[InputRow]:
    file = _opened(path)
    columns.check(file.schema_arrow.names)
    try:
        for batch in file.iter_batches(_BATCH_ROWS):
            queries = batch.column(columns.query).to_pylist()
            texts = batch.column(columns.texts).to_pylist()
            for place, (query, text) in enumerate(zip(queries, texts, strict=True)):
                yield InputRow(query, text, (batch, place), _query_error(query))
    except (import_arrow().ArrowException, OSError) as error:
        raise InvalidInputError(
            f"{path} is damaged, and was read in part: {error}. What is finished is kept."
        ) from error


def _json_rows(path: Path) -> Iterator[InputRow]:
    """The objects of a file; a line that is none is a row with an error, and no content."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                    row = json_object(f"{path.name}, line {number}", text)
                except (InvalidInputError, UnicodeDecodeError) as error:
                    yield InputRow(None, None, {}, error_text(error))
                else:
                    yield InputRow(None, None, row)
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}.") from error


def _chunks(rows: Iterator[InputRow]) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    for row in rows:
        chunk.append(row.content)
        if len(chunk) == _BATCH_ROWS:
            yield chunk
            chunk = []
    yield chunk


def _schema_of(rows: Sequence[dict[str, Any]], path: Path) -> Any:
    arrow = import_arrow()
    names = dict.fromkeys(name for row in rows for name in row)
    try:
        columns = {name: arrow.array([row.get(name) for row in rows]) for name in names}
    except (arrow.ArrowException, UnicodeEncodeError, OverflowError) as error:
        raise InvalidInputError(
            f"{path} does not fit into a Parquet file: {error}. Write .jsonl, or mend it."
        ) from error
    return arrow.schema([(name, column.type) for name, column in columns.items()])
