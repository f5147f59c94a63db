"""The journal of a reranking: finished queries, one JSON line each, to go on after a stop.

Its first line holds a fingerprint of everything that the scores depend on. What is read back is
checked like an engine's reply: a damaged line is an error, and never a part of a run. Each line
has a fingerprint of its own, because other scores in [0, 1] would look as good as those written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..._util.atomic_files import check_writable
from ...errors import InvalidInputError
from ...settings import is_finite, printed
from .runs import Run

Scored = list[tuple[str, float]]


def fingerprint(value: Any) -> str:
    """A short name for a JSON value; another value has another name."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


class Journal:
    """Finished queries on disk; each is there as soon as `add` returns.

    Args:
        path: the file; made if it is not there.
        mark: the fingerprint of this reranking.
        run: what is reranked, by which the lines that are read back are checked.

    Attributes:
        finished: documents and scores of the queries in the journal.

    Raises:
        InvalidInputError: the file belongs to another reranking, or is damaged.
    """

    def __init__(self, path: Path, mark: str, run: Run) -> None:
        self.path = path
        self._mark = mark
        self._run = run
        self.finished: dict[str, Scored] = {}
        check_writable(path, only_file=True)
        good = self._read() if path.exists() else 0
        self._file = path.open("a", encoding="utf-8")
        # What an interruption left of a last line goes, and the next line starts afresh.
        self._file.truncate(good)
        if good == 0:
            self._write({"fingerprint": mark})

    def add(self, query: str, documents: Scored) -> None:
        """Note a finished query."""
        row = {"query": query, "documents": documents}
        self._write({**row, "check": self._line_mark(query, documents)})
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

    def _line_mark(self, query: str, documents: Sequence[Any]) -> str:
        return fingerprint([self._mark, query, documents])

    def _read(self) -> int:
        """Take in the whole lines; their length in bytes."""
        *lines, torn = self.path.read_bytes().split(b"\n")
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line.decode())
                if number == 1:
                    self._check_mark(row["fingerprint"])
                else:
                    self._take(row)
            except InvalidInputError:
                raise
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                other = "choose another output"
                if number > 1:
                    other = "take that line out to score its query again"
                raise InvalidInputError(
                    f"{self.path}, line {number} is damaged: {_reason(error)}. Start anew with "
                    f"--fresh, or {other}."
                ) from error
        return self.path.stat().st_size - len(torn)

    def _take(self, row: Any) -> None:
        """Keep a query that is read back; raises ValueError for what was never written so."""
        query, documents = row["query"], row["documents"]
        if not isinstance(query, str) or query not in self._run:
            raise ValueError(f"the run has no query {printed(query)}")
        if query in self.finished:
            raise ValueError(f"the query {query} is there twice")
        scored = _checked(documents, [name for name, _ in self._run[query]])
        if row["check"] != self._line_mark(query, documents):
            raise ValueError("it is not what was written there")
        self.finished[query] = scored

    def _check_mark(self, mark: Any) -> None:
        if mark != self._mark:
            raise InvalidInputError(
                f"{self.path} is the journal of an unfinished run with other inputs, another model "
                "or other settings. Repeat that command to finish it, or start anew with --fresh."
            )


def _checked(documents: Any, names: Sequence[str]) -> Scored:
    """The documents of one query as `Reranker.rank` orders them, `names` in the run's order."""
    place = {name: at for at, name in enumerate(names)}
    scored: Scored = []
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
        raise ValueError(f"it does not hold each of the query's {len(names)} documents once")
    if scored != sorted(scored, key=lambda pair: (-pair[1], place[pair[0]])):
        raise ValueError("its documents are not in the order of their scores")
    return scored


def _reason(error: Exception) -> str:
    """Why a line was refused; other errors than ours say too little."""
    return str(error) if type(error) is ValueError else "it is no line of a journal"
