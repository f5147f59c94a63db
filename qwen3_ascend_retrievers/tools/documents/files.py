"""Documents from files, folders, JSONL and standard input, each with a display name. Reads only."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from ...errors import InvalidInputError
from ...settings import printed
from .chunking import CHUNK_CHARACTERS, split_text

TEXT_ENDINGS: Final = (".txt", ".text", ".md", ".markdown", ".rst")
JSON_LINES: Final = (".jsonl", ".ndjson")
DEFAULT_FIELD: Final = "text"
STDIN: Final = "-"


@dataclass(frozen=True, slots=True)
class NamedText:
    """A document and where it comes from.

    Attributes:
        name: a file's path, with a line number where a file holds several; or the `_id` or `id`
            of a JSON line.
        text: the document.
    """

    name: str
    text: str


def read_documents(
    paths: Sequence[str],
    stdin: TextIO,
    *,
    field: str | None = None,
    chunk_size: int = CHUNK_CHARACTERS,
) -> list[NamedText]:
    """The documents of all `paths`, in their order.

    Args:
        paths: a folder gives the passages (see chunking.py) of its text and Markdown files,
            subfolders included, hidden ones and links to folders not; a .jsonl file one document
            a line; any other file is one document; "-" is `stdin`, one document a line.
        stdin: where "-" reads; UTF-8, strictly.
        field: the JSON field that holds the text ("text" in .jsonl files by default); if given,
            every file and `stdin` are read as JSON lines.
        chunk_size: most characters of a passage, at least 1.

    Raises:
        InvalidInputError: a file or subfolder cannot be read, or is no UTF-8, or no JSON lines
            with such a field; a path or `field` is empty; or there is no document at all.
    """
    # As a path it is the current folder; more likely a variable was unset.
    if "" in paths or field == "":
        raise InvalidInputError(
            "A path or the field's name is empty. Leave it out, or name the right one."
        )
    documents = [text for path in paths for text in _read_path(path, stdin, field, chunk_size)]
    if not documents:
        raise InvalidInputError(
            f"There is no document in {', '.join(paths)}. Folders are searched for files that end "
            f"in {', '.join(TEXT_ENDINGS)}; standard input needs a line per document."
        )
    return documents


def _read_path(path: str, stdin: TextIO, field: str | None, size: int) -> Iterator[NamedText]:
    if path == STDIN:
        if field is not None:
            return _json_texts("stdin", _stdin_lines(stdin), field)
        return _line_texts(stdin)
    file = Path(path)
    # Not Path.is_dir, which raises for a name that is too long.
    if os.path.isdir(path):
        return _folder_passages(file, size)
    if field is not None or file.suffix.lower() in JSON_LINES:
        return _json_texts(path, read_text(file).split("\n"), field or DEFAULT_FIELD)
    return iter([NamedText(path, read_text(file))])


def _line_texts(stdin: TextIO) -> Iterator[NamedText]:
    for number, line in enumerate(_stdin_lines(stdin), 1):
        if line.strip():
            yield NamedText(f"stdin:{number}", line.rstrip("\r\n"))


def _stdin_lines(stdin: TextIO) -> Iterator[str]:
    try:
        yield from stdin
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"Standard input is not UTF-8: {error}.") from error


def _folder_passages(folder: Path, size: int) -> Iterator[NamedText]:
    for parent, folders, files in os.walk(folder, onerror=_raise_unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(parent, name)
            if name.startswith(".") or path.suffix.lower() not in TEXT_ENDINGS:
                continue
            # Reading a FIFO could block for ever; a dangling link is an error below.
            if os.path.exists(path) and not os.path.isfile(path):
                continue
            text = read_text(path)
            for start, end in split_text(text, size):
                line = text.count("\n", 0, start) + 1
                yield NamedText(f"{path}:{line}", text[start:end])


def _raise_unreadable(error: OSError) -> None:
    raise InvalidInputError(f"{error.filename} cannot be read: {error.strerror}.") from error


def _json_texts(name: str, lines: Iterable[str], field: str) -> Iterator[NamedText]:
    for number, row in json_lines(name, lines):
        text = row.get(field)
        if not isinstance(text, str):
            fields = ", ".join(sorted(row)) or "nothing"
            raise InvalidInputError(
                f"{name}, line {number} has no text in the field {field!r}; it has {fields}. "
                "Name the right one with --field."
            )
        yield NamedText(_label(name, number, row), text)


def _label(name: str, number: int, row: dict[str, Any]) -> str:
    """A line's `_id` or `id`, else its file and line number."""
    key = "_id" if row.get("_id") is not None else "id"
    label = row.get(key)
    if label is None or label == "":
        return f"{name}:{number}"
    if isinstance(label, bool) or not isinstance(label, str | int):
        raise InvalidInputError(
            f"{name}, line {number}: {key!r} is {printed(label)}. It must be a text or a whole "
            "number, or be left out."
        )
    return str(label)


def json_lines(name: str, lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of JSON lines with their line numbers, from 1; blank lines are passed over.

    Raises:
        InvalidInputError: a line is no JSON object, or names a key twice.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        yield number, json_object(f"{name}, line {number}", line)


def json_object(name: str, line: str | bytes) -> dict[str, Any]:
    """The object of one JSON line.

    Args:
        name: of the line, for the error.
        line: text, or UTF-8.

    Raises:
        InvalidInputError: it is no JSON object, or names a key twice.
    """
    try:
        row = json.loads(line, object_pairs_hook=_unique_keys, parse_constant=_reject_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{name} is no JSON: {error}.") from error
    if not isinstance(row, dict):
        raise InvalidInputError(f"{name} is JSON, but no object in braces.")
    return row


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these keys; Python's own reader silently takes the last of two."""
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {printed(twice)} is there twice")
    return row


def _reject_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without a byte order mark.

    Raises:
        InvalidInputError: it cannot be read, or is no UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{path} is not UTF-8 (byte {error.start}). Convert it to UTF-8 first."
        ) from error
