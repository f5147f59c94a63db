"""The journal of a reranking: finished queries, one JSON line each, to go on after a stop.

Its first line holds a fingerprint of everything that the scores depend on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..atomic_files import check_writable
from ..errors import InvalidInputError

Scored = list[tuple[str, float]]


def fingerprint(value: Any) -> str:
    """A short name for a JSON value; another value has another name."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


class Journal:
    """Finished queries on disk; each is there as soon as `add` returns.

    Args:
        path: the file; made if it is not there.
        mark: the fingerprint of this reranking.

    Attributes:
        finished: documents and scores of the queries in the journal.

    Raises:
        InvalidInputError: the file belongs to another reranking, or is no journal.
    """

    def __init__(self, path: Path, mark: str) -> None:
        self.path = path
        self.finished: dict[str, Scored] = {}
        check_writable(path, only_file=True)
        good = self._read(mark) if path.exists() else 0
        self._file = path.open("a", encoding="utf-8")
        # What an interruption left of a last line goes, and the next line starts afresh.
        self._file.truncate(good)
        if good == 0:
            self._write({"fingerprint": mark})

    def add(self, query: str, documents: Scored) -> None:
        """Note a finished query."""
        self._write({"query": query, "documents": documents})
        self.finished[query] = documents

    def close(self) -> None:
        """Close the file; it stays."""
        self._file.close()

    def remove(self) -> None:
        """Close and delete the file, once its content is safe elsewhere."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _write(self, row: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def _read(self, mark: str) -> int:
        """Take in the whole lines; their length in bytes."""
        good = 0
        for number, line in enumerate(self.path.read_bytes().splitlines(keepends=True)):
            if not line.endswith(b"\n"):
                break
            try:
                row = json.loads(line)
                if number == 0:
                    self._check_mark(row["fingerprint"], mark)
                else:
                    self.finished[row["query"]] = [
                        (name, score) for name, score in row["documents"]
                    ]
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                if isinstance(error, InvalidInputError):
                    raise
                raise InvalidInputError(
                    f"{self.path}, line {number + 1} is no line of a journal. Delete the file, or "
                    "choose another output."
                ) from error
            good += len(line)
        return good

    def _check_mark(self, found: str, mark: str) -> None:
        if found != mark:
            raise InvalidInputError(
                f"{self.path} is the journal of an unfinished run with other inputs, another model "
                "or other settings. Repeat that command to finish it, or start anew with --fresh."
            )
