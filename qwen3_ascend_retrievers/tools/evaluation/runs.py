"""Runs and relevance judgements: TREC's formats, and BEIR's for judgements. Files and order only.

Formats: https://trec.nist.gov and trec_eval's README; a line of a run is
`query Q0 document rank score tag`, a line of qrels `query 0 document grade`.
"""

from __future__ import annotations

import re
import struct
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from ..._util.atomic_files import write_text
from ...errors import InvalidInputError
from ..documents.files import read_text

# Documents of each query, best first, with their scores.
Run = dict[str, list[tuple[str, float]]]
# Grades of each query's judged documents.
Qrels = dict[str, dict[str, int]]

_BEIR_HEADER: Final = ["query-id", "corpus-id", "score"]
# Tools read scores as float32; beyond this they overflow, or have no float32 below them.
_MAX_SCORE: Final = 1e38
# Tools count documents by grade in a table up to the largest; beyond memory they fail silently.
_MAX_GRADE: Final = 1_000_000
# Numbers that other tools read too: Python also takes 1_000 and the digits of other scripts.
_DECIMAL: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_DIGITS: Final = re.compile(r"[0-9]+")
# Python converts no integer of more than 4,300 digits.
_MAX_DIGITS: Final = 1000
_INVISIBLE: Final = ("Cc", "Cf", "Cs")
# Words of Persian and of Indian languages need them.
_JOINERS: Final = frozenset("\u200c\u200d")


def read_run(path: Path) -> Run:
    """A TREC run, each query's documents by score, ties in the file's order.

    Raises:
        InvalidInputError: a line is malformed, a document is there twice, or the file is empty.
    """
    run: Run = {}
    pairs: set[tuple[str, str]] = set()
    for number, line in _numbered_lines(path):
        parts = _split_spaces(line)
        if len(parts) != 6:
            raise _malformed(path, number, "query Q0 document rank score tag")
        query, _, document, rank, score, _ = parts
        if not _DIGITS.fullmatch(rank):
            raise _malformed(path, number, "a whole number as rank, in digits")
        for name in (query, document):
            check_id(path, number, name)
        if (query, document) in pairs:
            raise InvalidInputError(
                f"{path}, line {number}: the document {document} is there twice for query {query}."
            )
        pairs.add((query, document))
        run.setdefault(query, []).append((document, _parse_score(path, number, score)))
    if not run:
        raise InvalidInputError(f"{path} holds no run.")
    for documents in run.values():
        documents.sort(key=lambda pair: -pair[1])
    return run


def read_qrels(path: Path) -> Qrels:
    """Judgements in TREC's four columns, or in BEIR's three between tabs, with a header or none.

    Raises:
        InvalidInputError: a line is malformed or has other columns than the first, an id holds
            white space, a pair has two different grades, or the file is empty.
    """
    qrels: Qrels = {}
    columns = 0
    for number, line in _numbered_lines(path):
        parts = _columns(line)
        # Without its document, `query 0 document grade` reads as the grade of a document 0.
        if len(parts) not in (3, 4) or len(parts) != (columns := columns or len(parts)):
            expected = "query 0 document grade, or query document grade, the same in all lines"
            raise _malformed(path, number, expected)
        if number == 1 and parts == _BEIR_HEADER:
            continue
        query, document = parts[0], parts[-2]
        for name in (query, document):
            check_id(path, number, name)
        grade = _parse_grade(path, number, parts[-1])
        if qrels.setdefault(query, {}).setdefault(document, grade) != grade:
            raise InvalidInputError(
                f"{path}, line {number}: the document {document} has two different grades for "
                f"query {query}. Keep one of them."
            )
    if not qrels:
        raise InvalidInputError(f"{path} holds no judgements.")
    return qrels


def check_id(path: Path, number: int, name: str) -> None:
    """Raise InvalidInputError for an id that no line of a run can hold."""
    if name.split() != [name]:
        raise InvalidInputError(
            f"{path}, line {number}: the id {name!r} is empty or holds white space, which a TREC "
            "run cannot hold. Rename it in all files."
        )
    # Tools written in C end a text at NUL, half a surrogate pair is no UTF-8, and an invisible
    # character, such as a byte order mark inside joined files, makes equal-looking ids differ.
    if any(unicodedata.category(character) in _INVISIBLE for character in set(name) - _JOINERS):
        raise InvalidInputError(
            f"{path}, line {number}: the id {name!a} holds a control character, an invisible one "
            "or half a surrogate pair. Rename it in all files."
        )


def write_run(path: Path, run: Mapping[str, Sequence[tuple[str, float]]], tag: str) -> None:
    """Write a run, whole or not at all.

    Tools order a run by its scores as float32, and break ties differently; so equal scores are
    separated by the smallest step, and every tool reads the same order.
    """
    lines = []
    for query, documents in run.items():
        scores = strictly_decreasing([score for _, score in documents])
        for rank, ((document, _), score) in enumerate(zip(documents, scores, strict=True), 1):
            lines.append(f"{query} Q0 {document} {rank} {score:.9g} {tag}\n")
    write_text(path, "".join(lines))


def strictly_decreasing(scores: Sequence[float]) -> list[float]:
    """The scores as float32, each below its predecessor, by the smallest step where need be."""
    float32_scores: list[float] = []
    for score in scores:
        value = _float32(score)
        if float32_scores and value >= float32_scores[-1]:
            value = _next_below(float32_scores[-1])
        float32_scores.append(value)
    return float32_scores


def _float32(value: float) -> float:
    (rounded,) = struct.unpack("<f", struct.pack("<f", value))
    return float(rounded)


def _next_below(value: float) -> float:
    """The next float32 below `value`: its bit pattern, read as an integer, changes by 1."""
    if value == 0:
        return -(2.0**-149)
    (bits,) = struct.unpack("<i", struct.pack("<f", value))
    # The sign bit makes both patterns' order the values' distance from zero.
    step = -1 if value > 0 else 1
    (following,) = struct.unpack("<f", struct.pack("<i", bits + step))
    return float(following)


def _numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            yield number, line


def _columns(line: str) -> list[str]:
    """The columns of a judgement: between tabs, where an id may hold a space, or spaces."""
    tabs = line.count("\t") in (2, 3)
    return [part.strip(" ") for part in line.split("\t")] if tabs else _split_spaces(line)


def _split_spaces(line: str) -> list[str]:
    """The columns between spaces and tabs; Python's own split takes control characters, too."""
    return re.split(r"[ \t]+", line.strip(" \t"))


def _parse_score(path: Path, number: int, text: str) -> float:
    if not _DECIMAL.fullmatch(text):
        raise _malformed(path, number, "a number as score: a finite score in digits")
    score = float(text)
    if abs(score) > _MAX_SCORE:
        raise _malformed(path, number, f"a finite score, at most {_MAX_SCORE:g} from 0")
    return score


def _parse_grade(path: Path, number: int, text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise _malformed(path, number, "a whole number as grade, in digits")
    grade = int(text[:_MAX_DIGITS])
    if len(text) > _MAX_DIGITS or abs(grade) > _MAX_GRADE:
        raise _malformed(path, number, f"a grade of at most {_MAX_GRADE}")
    return grade


def _malformed(path: Path, number: int, expected: str) -> InvalidInputError:
    return InvalidInputError(f"{path}, line {number} is malformed; it needs {expected}.")
