"""The journal of a reranking: finished queries, one JSON line each, to resume after a stop.

Its first line holds a fingerprint of everything that the scores depend on. What is read back is
validated like an engine's reply: a damaged line is an error, and never a part of a run. Each line
has a fingerprint of its own, because other scores in [0, 1] would pass every other check.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..._util.atomic_files import check_writable
from ..._util.file_locks import is_open_at, lock_file
from ...errors import InvalidInputError
from ...settings import is_finite, printed
from ..wording import counted
from .runs import Run

ScoredDocuments = list[tuple[str, float]]


def fingerprint(value: Any) -> str:
    """The SHA-256 of a JSON value, shortened to 128 bits, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


class Journal:
    """Finished queries on disk; each is written when `add` returns.

    Args:
        path: the file; created if it does not exist.
        task_fingerprint: the fingerprint of this reranking.
        run: the run to be reranked; lines that are read back are validated against it.
        fresh: whether to discard what is there.

    Attributes:
        finished: documents and scores of the queries in the journal.

    Raises:
        InvalidInputError: the file belongs to another reranking, is damaged, or another process
            has it.
    """

    def __init__(self, path: Path, task_fingerprint: str, run: Run, *, fresh: bool = False) -> None:
        self.path = path
        self._task_fingerprint = task_fingerprint
        self._run = run
        self.finished: dict[str, ScoredDocuments] = {}
        check_writable(path, only_file=True)
        self._file = path.open("a", encoding="utf-8")
        try:
            self._lock()
            complete = 0 if fresh else self._read()
            # An incomplete last line of an interrupted run is removed.
            self._file.truncate(complete)
            if complete == 0:
                self._write({"fingerprint": task_fingerprint})
        except BaseException:
            self.close()
            raise

    def add(self, query: str, documents: ScoredDocuments) -> None:
        """Write a finished query."""
        row = {"query": query, "documents": documents}
        self._write({**row, "check": self._line_fingerprint(query, documents)})
        self.finished[query] = documents

    def close(self) -> None:
        """Close the file; it stays."""
        self._file.close()

    def remove(self) -> None:
        """Delete the file, once the run is written."""
        self.path.unlink(missing_ok=True)
        self.close()

    def _lock(self) -> None:
        handle = self._file.fileno()
        lock_file(handle, self.path)
        if not is_open_at(handle, self.path):
            raise InvalidInputError(
                f"Another process has finished with {self.path} at this moment. Try again."
            )

    def _write(self, row: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def _line_fingerprint(self, query: str, documents: Sequence[Any]) -> str:
        return fingerprint([self._task_fingerprint, query, documents])

    def _read(self) -> int:
        """Read the complete lines; returns their length in bytes."""
        *lines, incomplete = self.path.read_bytes().split(b"\n")
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line.decode())
                if number == 1:
                    self._check_fingerprint(row["fingerprint"])
                else:
                    self._restore(row)
            except InvalidInputError:
                raise
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                alternative = "choose another output"
                if number > 1:
                    alternative = "take that line out to score its query again"
                raise InvalidInputError(
                    f"{self.path}, line {number} is damaged: {_reason(error)}. Start anew with "
                    f"--fresh, or {alternative}."
                ) from error
        return self.path.stat().st_size - len(incomplete)

    def _restore(self, row: Any) -> None:
        """Restore a query from its line; raises ValueError for an invalid line."""
        query, documents = row["query"], row["documents"]
        if not isinstance(query, str) or query not in self._run:
            raise ValueError(f"the run has no query {printed(query)}")
        if query in self.finished:
            raise ValueError(f"the query {query} is there twice")
        scored = _validated_documents(documents, [name for name, _ in self._run[query]])
        if row["check"] != self._line_fingerprint(query, documents):
            raise ValueError("it is not what was written there")
        self.finished[query] = scored

    def _check_fingerprint(self, task_fingerprint: Any) -> None:
        if task_fingerprint != self._task_fingerprint:
            raise InvalidInputError(
                f"{self.path} is the journal of an unfinished run with other inputs, another model "
                "or other settings. Repeat that command to finish it, or start anew with --fresh."
            )


def _validated_documents(documents: Any, names: Sequence[str]) -> ScoredDocuments:
    """The documents of one query as `Reranker.rank` orders them, `names` in the run's order."""
    place = {name: at for at, name in enumerate(names)}
    scored: ScoredDocuments = []
    if not isinstance(documents, list):
        raise ValueError("its documents are no list")
    for pair in documents:
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError(f"{printed(pair)} is no pair of a document and its score")
        name, score = pair
        if not isinstance(name, str) or name not in place:
            raise ValueError(f"the run has no document {printed(name)} for this query")
        if not is_finite(score) or not 0 <= score <= 1:
            raise ValueError(f"{printed(score)} is no relevance score")
        scored.append((name, float(score)))
    if len(scored) != len(names) or len({name for name, _ in scored}) != len(names):
        raise ValueError(
            f"it does not hold each of the query's {counted(len(names), 'document')} once"
        )
    if scored != sorted(scored, key=lambda pair: (-pair[1], place[pair[0]])):
        raise ValueError("its documents are not in the order of their scores")
    return scored


def _reason(error: Exception) -> str:
    """Why a line was refused; messages of other errors than ours are too vague."""
    return str(error) if type(error) is ValueError else "it is no line of a journal"
