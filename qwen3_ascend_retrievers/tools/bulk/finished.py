"""Finished batches on disk, a file each, from which a stopped job goes on."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..._util.atomic_files import (
    check_writable,
    remove_leftovers,
    replacing,
    write_bytes,
    write_text,
)
from ..._util.file_locks import lock_file
from ...errors import InvalidInputError
from .inputs import PARQUET
from .tables import import_arrow

if TYPE_CHECKING:
    from typing_extensions import Self

# Rows of a group in the Parquet file at the end: what readers hold in memory at once.
_GROUP_ROWS: Final = 65_536
_JOB: Final = "job.json"
_LOCK: Final = "lock"
# The files of a job, and what a killed one leaves of them.
_OWN: Final = re.compile(r"lock|job\.json|\d{8}\.(?:json|jsonl|parquet)|\..*\.part", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCounts:
    """What a job, or a batch of it, came to.

    Attributes:
        rows: of the input.
        pairs: of a query and a document.
        cut: documents of which a part was scored nowhere.
        failed: rows with an error.
        cache_hits: scores that came from a cache.
    """

    rows: int = 0
    pairs: int = 0
    cut: int = 0
    failed: int = 0
    cache_hits: int = 0

    def __add__(self, other: JobCounts) -> JobCounts:
        mine, others = asdict(self), asdict(other)
        return JobCounts(**{name: mine[name] + others[name] for name in mine})


class FinishedBatches:
    """The folder OUTPUT.parts: what is finished of a job, until its output is whole.

    A batch is finished when the file with its counts is there, which is written last. Only one
    process at a time has the folder, until `close` or the end of `with`.

    Args:
        output: the file that the job is to write.
        job: what the scores depend on; the folder of another job is refused.
        fresh: discard what is there.

    Attributes:
        counts: of each finished batch, by its number.

    Raises:
        InvalidInputError: the folder is of another job, or of one that runs.
    """

    def __init__(self, output: Path, job: dict[str, Any], *, fresh: bool = False) -> None:
        check_writable(output, only_file=True)
        self._output = output
        self._ending = output.suffix.lower()
        self.folder = folder_of(output)
        _check_own(self.folder)
        self.folder.mkdir(exist_ok=True)
        self._is_joined = False
        self._lock: int | None = _locked(self.folder)
        remove_leftovers(output)
        if fresh:
            self._clear()
        self._check_job(job)
        self.counts = dict(self._read())

    def add(self, number: int, content: bytes, counts: JobCounts) -> None:
        """Write a finished batch."""
        write_bytes(self._content_path(number), content)
        digest = hashlib.sha256(content).hexdigest()
        write_text(self._counts_path(number), json.dumps(asdict(counts) | {"sha256": digest}))
        self.counts[number] = counts

    def total(self) -> JobCounts:
        """The counts of all finished batches together."""
        return sum(self.counts.values(), JobCounts())

    def join(self) -> None:
        """Make the output of all batches, and delete the folder.

        Raises:
            InvalidInputError: a batch is damaged; it is deleted, so that it will be scored again.
        """
        with replacing(self._output) as whole:
            if self._ending == PARQUET:
                self._join_tables(whole)
            else:
                with whole.open("wb") as file:
                    for content in self._contents():
                        file.write(content)
        self._is_joined = True
        self.close()

    def close(self) -> None:
        """Let another process have the folder, which goes if it is of no more use.

        Safe to call twice.
        """
        if self._lock is not None:
            if self._is_joined or not self.counts:
                self._clear()
                (self.folder / _LOCK).unlink(missing_ok=True)
                # A link to another disk stays.
                with suppress(OSError):
                    self.folder.rmdir()
            self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _join_tables(self, whole: Path) -> None:
        arrow = import_arrow()
        from pyarrow import parquet

        writer: Any = None
        tables: list[Any] = []
        rows = 0
        try:
            for content in self._contents():
                # Not read_table, to which columns such as __filename are its own.
                tables.append(parquet.ParquetFile(arrow.BufferReader(content)).read())
                rows += tables[-1].num_rows
                writer = writer or parquet.ParquetWriter(whole, tables[0].schema)
                if rows >= _GROUP_ROWS:
                    writer.write_table(arrow.concat_tables(tables))
                    tables, rows = [], 0
            if tables:
                writer.write_table(arrow.concat_tables(tables))
        finally:
            if writer is not None:
                writer.close()

    def _contents(self) -> Iterator[bytes]:
        for number in sorted(self.counts):
            content = self._content_path(number).read_bytes()
            digest = json.loads(self._counts_path(number).read_text("utf-8"))["sha256"]
            if hashlib.sha256(content).hexdigest() != digest:
                self._counts_path(number).unlink()
                raise InvalidInputError(
                    f"{self._content_path(number)} is not what was written there. It is discarded; "
                    "the same command scores those rows again."
                )
            yield content

    def _clear(self) -> None:
        for path in self.folder.iterdir():
            if path.name != _LOCK:
                path.unlink(missing_ok=True)

    def _check_job(self, job: dict[str, Any]) -> None:
        path = self.folder / _JOB
        text = json.dumps(job, sort_keys=True)
        if not path.exists():
            write_text(path, text)
        elif path.read_text("utf-8") != text:
            self._unlock()
            raise InvalidInputError(
                f"{self.folder} has the finished rows of another job: other files (their sizes "
                "and times count), another model or other settings. Repeat that command to finish "
                "it, or start anew with --fresh."
            )

    def _read(self) -> Iterator[tuple[int, JobCounts]]:
        for path in sorted(self.folder.glob("[0-9]*.json")):
            # An empty or half file is left by a machine that lost its power.
            with suppress(ValueError, KeyError, TypeError):
                values = json.loads(path.read_text("utf-8"))
                values.pop("sha256")
                yield int(path.stem), JobCounts(**values)

    def _content_path(self, number: int) -> Path:
        return self.folder / f"{number:08d}{self._ending}"

    def _counts_path(self, number: int) -> Path:
        return self.folder / f"{number:08d}.json"


def folder_of(output: Path) -> Path:
    """Where the finished batches of a job are, beside its output."""
    return output.with_name(output.name + ".parts")


def _check_own(folder: Path) -> None:
    """Raise InvalidInputError for something of that name which no job has made."""
    if not folder.exists():
        return
    if not folder.is_dir() or any(not _OWN.fullmatch(path.name) for path in folder.iterdir()):
        raise InvalidInputError(
            f"{folder} holds other things than the finished rows of a job, which are kept there. "
            "Move it away, or take another name for the output."
        )


def _locked(folder: Path) -> int:
    """The folder's lock, which this process alone has."""
    handle = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR)
    try:
        lock_file(handle, folder)
    except BaseException:
        os.close(handle)
        raise
    return handle
