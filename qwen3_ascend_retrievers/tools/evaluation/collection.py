"""Test collections in BEIR's format: queries and documents from JSON lines.

Format: https://github.com/beir-cellar/beir/wiki/Load-your-custom-dataset.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from ...errors import InvalidInputError
from ...settings import printed
from ..documents.files import json_lines
from ..wording import counted
from .runs import check_id


def read_queries(path: Path) -> dict[str, str]:
    """Query texts by their `_id`, in the file's order.

    Raises:
        InvalidInputError: the file cannot be read, a line lacks `_id` or `text`, a text is blank,
            or an id is there twice or holds white space.
    """
    queries: dict[str, str] = {}
    for number, row in _numbered_rows(path):
        query, text = _text_field(path, number, row, "_id"), _text_field(path, number, row, "text")
        check_id(path, number, query)
        if not text.strip():
            raise InvalidInputError(
                f"{path}, line {number}: the query {query} has a blank text, for which nothing can "
                "be ranked. Take it out, and out of the run."
            )
        if query in queries:
            raise InvalidInputError(f"{path}, line {number}: the query {query} is there twice.")
        queries[query] = text
    return queries


def read_corpus(path: Path, document_ids: Collection[str] | None = None) -> dict[str, str]:
    """Texts of the documents by their `_id`, the title in front, as BEIR joins them.

    Blank texts are included, and scored like any other.

    Args:
        path: JSON lines with `_id`, `text` and perhaps `title`.
        document_ids: read only these, as a large corpus may not fit into memory; None is all.

    Raises:
        InvalidInputError: the file cannot be read, a line lacks a field, an id of
            `document_ids` is missing or holds white space, or a document is there twice with
            different texts.
    """
    corpus: dict[str, str] = {}
    for number, row in _numbered_rows(path):
        document = _text_field(path, number, row, "_id")
        if document_ids is not None and document not in document_ids:
            continue
        check_id(path, number, document)
        text = f"{_title(path, number, row)} {_text_field(path, number, row, 'text')}".strip()
        if corpus.setdefault(document, text) != text:
            raise InvalidInputError(
                f"{path}, line {number}: the document {document} is there twice, with two "
                "different texts. Keep one of them."
            )
    missing_ids = sorted(set(document_ids or ()) - corpus.keys())
    if missing_ids:
        raise InvalidInputError(
            f"{path} lacks {counted(len(missing_ids), 'document')} of the run, such as "
            f"{missing_ids[0]}. Do corpus and run belong together?"
        )
    return corpus


def _numbered_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            yield from json_lines(str(path), file)
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path} is not UTF-8. Convert it to UTF-8 first.") from error


def _text_field(path: Path, number: int, row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if name == "_id" and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or (name == "_id" and not value):
        raise InvalidInputError(
            f"{path}, line {number} has no text in {name!r}. Each line needs '_id' and 'text'."
        )
    return value


def _title(path: Path, number: int, row: dict[str, Any]) -> str:
    title = row.get("title")
    if title is not None and not isinstance(title, str):
        raise InvalidInputError(
            f"{path}, line {number}: 'title' is {printed(title)}. It must be a text or be left out."
        )
    return title or ""
