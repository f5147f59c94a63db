"""TREC and BEIR files, and an order that every tool reads alike."""

from __future__ import annotations

import contextlib
import itertools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ir_measures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_ascend_retrievers.errors import InvalidInputError
from qwen3_ascend_retrievers.tools.evaluation.collection import read_corpus, read_queries
from qwen3_ascend_retrievers.tools.evaluation.runs import (
    read_qrels,
    read_run,
    strictly_decreasing,
    write_run,
)

WHOLE: dict[Callable[[Path], Any], bytes] = {
    read_queries: b'{"_id": "q1", "text": "x"}\n{"_id": 2, "text": "y"}\n',
    read_corpus: b'{"_id": "a", "title": "T", "text": "x"}\n{"_id": 2, "text": "z"}\n',
    read_run: b"q1 Q0 a 1 0.5 t\nq1 Q0 b 2 -1e-3 t\n",
    read_qrels: b"query-id\tcorpus-id\tscore\nq1\ta\t2\nq1\tb\t0\n",
}


def as_float32(value: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


@given(
    st.lists(st.one_of(st.floats(-1, 1), st.sampled_from([0.0, -0.0, 1.0, 5e-324])), max_size=50)
)
def test_scores_fall_strictly_and_hardly_move(scores: list[float]) -> None:
    ordered = sorted(scores, reverse=True)
    decreasing = strictly_decreasing(ordered)
    assert all(score > other for score, other in itertools.pairwise(decreasing))
    assert all(as_float32(score) == score for score in decreasing)
    assert all(abs(score - other) < 1e-5 for score, other in zip(decreasing, ordered, strict=True))


def test_a_written_run_keeps_its_order_in_our_reader_and_in_ir_measures(tmp_path: Path) -> None:
    path = tmp_path / "run"
    run = {"q2": [("b", 0.5), ("a", 0.5), ("c", 0.5)], "q1": [("z", 1 - 1e-9), ("y", 1 - 2e-9)]}
    write_run(path, run, "tag")
    back = read_run(path)
    assert list(back) == ["q2", "q1"]
    assert {query: [name for name, _ in documents] for query, documents in back.items()} == {
        "q2": ["b", "a", "c"],
        "q1": ["z", "y"],
    }
    assert path.read_text().splitlines()[0] == "q2 Q0 b 1 0.5 tag"
    # trec_eval itself breaks ties by document id, last first.
    qrels = [ir_measures.Qrel("q2", "b", 1)]
    values = ir_measures.calc_aggregate(
        [ir_measures.RR @ 1], qrels, ir_measures.read_trec_run(str(path))
    )
    assert list(values.values()) == [1.0]


def test_a_run_is_ordered_by_score_ties_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_text("q Q0 a 1 0.1 t\nq Q0 b 2 0.3 t\n\nq Q0 c 3 0.3 t\n")
    assert read_run(path) == {"q": [("b", 0.3), ("c", 0.3), ("a", 0.1)]}


def test_both_kinds_of_qrels(tmp_path: Path) -> None:
    beir, trec = tmp_path / "beir.tsv", tmp_path / "trec"
    beir.write_text("query-id\tcorpus-id\tscore\n1\ta\t2\n1\tb\t0\n")
    trec.write_text("1 0 a 2\n1 0 b 0\n")
    assert read_qrels(beir) == read_qrels(trec) == {"1": {"a": 2, "b": 0}}
    beir.write_text("1 \ta\t2\r\n1\tb\t0\r\n")
    trec.write_text("1\t0\ta\t2\n1\t0\tb\t0\n")
    assert read_qrels(beir) == read_qrels(trec) == {"1": {"a": 2, "b": 0}}


def test_a_collection_joins_titles_and_keeps_what_is_wanted(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(
        '{"_id": "a", "title": "T", "text": "x\u2028y"}\n{"_id": 2, "text": "z"}\n'
        '{"_id": "blank", "text": " "}\n',
        "utf-8",
    )
    assert read_corpus(corpus) == {"a": "T x\u2028y", "2": "z", "blank": ""}
    assert read_corpus(corpus, {"2"}) == {"2": "z"}
    with pytest.raises(InvalidInputError, match="lacks 1 document of the run, such as nine"):
        read_corpus(corpus, {"2", "nine"})


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (read_run, "q Q0 a 1 0.1\n", "line 1 is malformed; it needs query Q0"),
        (read_run, "q Q0 a 1 x t\n", "a number as score"),
        (read_run, "q Q0 a 1 nan t\n", "a finite score"),
        (read_run, "q Q0 a 1 1e39 t\n", "a finite score, at most 1e\\+38 from 0"),
        (read_run, "q Q0 a 1 -1e300 t\n", "a finite score, at most 1e\\+38 from 0"),
        (read_run, "q Q0 a 1 1 t\nq Q0 a 2 0 t\n", "line 2: the document a is there twice"),
        (read_run, "\n", "holds no run"),
        (read_qrels, "q 0 a x\n", "a whole number as grade"),
        (read_qrels, "q 0 a 9223372036854775807\n", "a grade of at most 1000000"),
        (read_qrels, "q a\n", "line 1 is malformed"),
        (read_qrels, "q\ta 1\t1\n", "line 1: the id 'a 1' is empty or holds white space"),
        (read_qrels, "q 1\t0\ta\t1\n", "line 1: the id 'q 1' is empty or holds white space"),
        (read_qrels, "q\t\t1\n", "line 1: the id '' is empty"),
        (read_queries, '{"_id": "q\\u00a01", "text": "x"}\n', "the id 'q.xa01' is empty or holds"),
        (read_queries, '{"_id": "q7", "text": " "}\n', "line 1: the query q7 has a blank text"),
        (read_corpus, '{"_id": "d 1", "text": "x"}\n', "line 1: the id 'd 1' is empty or holds"),
        (read_qrels, "query-id corpus-id score\n", "holds no judgements"),
        (read_queries, '{"_id": "1"}\n', "line 1 has no text in 'text'"),
        (read_queries, '{"_id": "", "text": "x"}\n', "line 1 has no text in '_id'"),
        (read_queries, '{"_id": "1", "text": "x"}\n{"_id": 1, "text": "x"}\n', "is there twice"),
        (read_corpus, "no json\n", "line 1 is no JSON"),
        (read_run, "q Q0 a 1 1_000 t\n", "a number as score"),
        (read_run, "q Q0 a 1 \uff10.\uff15 t\n", "a number as score"),
        (read_run, "q Q0 a 1 inf t\n", "a finite score"),
        (read_run, "q Q0 a 1 1e999 t\n", "a finite score"),
        (read_run, "q Q0 a\0b 1 1 t\n", r"the id 'a\\x00b' holds a control character"),
        (read_run, "q\0 Q0 a 1 1 t\n", "holds a control character"),
        (read_run, f"q Q0 a 1 {'9' * 100_000}x t\n", "a number as score"),
        (read_run, "q Q0 a x 1 t\n", "a whole number as rank"),
        (read_run, "q Q0 a 1_0 1 t\n", "a whole number as rank"),
        (read_run, "q Q0 a \uff11 1 t\n", "a whole number as rank"),
        (read_run, "q Q0 a 1e0 1 t\n", "a whole number as rank"),
        (read_run, "q\x1cQ0\x1da 1 1 t\n", "line 1 is malformed"),
        (read_run, "q Q0 a\xa0b 1 1 t\n", r"the id 'a\\xa0b' is empty or holds white space"),
        (read_run, "q Q0 a 1 1 t\n\ufeffq Q0 b 1 1 t\n", r"line 2: the id '\\ufeffq' holds"),
        (read_qrels, "q 0 a\u200b 1\n", r"the id 'a\\u200b' holds a control character, an invis"),
        (read_qrels, "q 0 a 1\nq 0 1\n", "line 2 is malformed; it needs query 0 document grade"),
        (read_qrels, "query-id\tcorpus-id\tscore\nq\t0\ta\t1\n", "line 2 is malformed"),
        (read_qrels, "q\ta\x1c\t1\n", "the id"),
        (read_qrels, "q 0 a 1_0\n", "a whole number as grade"),
        (read_qrels, "q 0 a \u0661\n", "a whole number as grade"),
        (read_qrels, f"q 0 a {'9' * 5000}\n", "a grade of at most 1000000"),
        (read_qrels, "q\0 0 a 1\n", "holds a control character"),
        (read_qrels, "q 0 a 1\nq 0 a 2\n", "line 2: the document a has two different grades"),
        (read_queries, '{"_id": "q\\u0000", "text": "x"}\n', "holds a control character"),
        (read_queries, '{"_id": "q\\ud800", "text": "x"}\n', "half a surrogate pair"),
        (read_queries, '{"_id": true, "text": "x"}\n', "line 1 has no text in '_id'"),
        (read_queries, '{"_id": 1.0, "text": "x"}\n', "line 1 has no text in '_id'"),
        (read_queries, '{"_id": "a", "_id": "b", "text": "x"}\n', "the key '_id' is there twice"),
        (read_queries, '{"_id": "a", "text": "x", "n": NaN}\n', "NaN is no JSON number"),
        (read_corpus, '{"_id": "d", "title": ["T"], "text": "x"}\n', "'title' is \\['T'\\]"),
        (read_corpus, '{"_id": "d", "title": 0, "text": "x"}\n', "'title' is 0"),
        (read_corpus, '{"_id": "d\\u0007", "text": "x"}\n', "holds a control character"),
        (
            read_corpus,
            '{"_id": "d", "text": "x"}\n{"_id": "d", "text": "y"}\n',
            "line 2: the document d is there twice, with two different texts",
        ),
    ],
)
def test_wrong_files_name_the_line(
    tmp_path: Path, read: object, content: str, message: str
) -> None:
    path = tmp_path / "file"
    path.write_text(content, "utf-8")
    assert callable(read)
    with pytest.raises(InvalidInputError, match=message):
        read(path)


def test_joiners_that_words_need_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "qrels"
    path.write_text("\u0645\u06cc\u200c\u0631\u0648\u0645 0 a 1\n", "utf-8")
    assert read_qrels(path) == {"\u0645\u06cc\u200c\u0631\u0648\u0645": {"a": 1}}


def test_equal_duplicates_say_nothing_new(tmp_path: Path) -> None:
    corpus, qrels = tmp_path / "corpus.jsonl", tmp_path / "qrels"
    corpus.write_text('{"_id": "d", "text": "x"}\n' * 2)
    qrels.write_text("q 0 a +1\n" * 2)
    assert read_corpus(corpus) == {"d": "x"}
    assert read_qrels(qrels) == {"q": {"a": 1}}


@settings(max_examples=300)
@given(data=st.data())
@pytest.mark.parametrize("read", [read_queries, read_corpus, read_run, read_qrels])
def test_a_mangled_file_is_read_or_refused(
    read: Callable[[Path], Any], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "mangled"
    content = bytearray(WHOLE[read])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    path.write_bytes(content)
    with contextlib.suppress(InvalidInputError):
        read(path)


@pytest.mark.parametrize("read", [read_queries, read_corpus, read_run, read_qrels])
def test_unreadable_files_are_named(tmp_path: Path, read: object) -> None:
    assert callable(read)
    with pytest.raises(InvalidInputError, match="gone cannot be read"):
        read(tmp_path / "gone")
    (tmp_path / "bad").write_bytes(b"\xff\n")
    with pytest.raises(InvalidInputError, match="bad is not UTF-8"):
        read(tmp_path / "bad")
