"""Keys that differ where a score may, and entries that are whole or not read at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_ascend_retrievers.core.plan import Passage, Plan, Query
from qwen3_ascend_retrievers.core.ranking import Score
from qwen3_ascend_retrievers.engines.cache import entries
from support.strategies import texts

QUERY = Query("q", "task", "the part of q", (1, 2))
PASSAGE = Passage(0, "text", (0, 4), (3, 4))
KEY = "qwen3-rerank-0"


def key(fingerprint: str = "model", query: Query = QUERY, passage: Passage = PASSAGE) -> str:
    (found,) = entries.keys(fingerprint, Plan((query,), (passage,), ((0,),)))
    return found


@pytest.mark.parametrize(
    "changed",
    [
        {"fingerprint": "another"},
        {"query": replace(QUERY, instruction="another")},
        {"query": replace(QUERY, part="another")},
        {"query": replace(QUERY, ids=(1, 3))},
        {"query": replace(QUERY, ids=None)},
        {"passage": replace(PASSAGE, text="another")},
        {"passage": replace(PASSAGE, ids=(3, 5))},
        {"passage": replace(PASSAGE, ids=None)},
        {"query": replace(QUERY, ids=(1,)), "passage": replace(PASSAGE, ids=(2, 3, 4))},
    ],
)
def test_another_key(changed: dict[str, Any]) -> None:
    assert key(**changed) != key()


def test_the_same_key() -> None:
    elsewhere = replace(PASSAGE, span=(7, 11), cut="exact")
    assert key(passage=elsewhere) == key()
    plan = Plan((QUERY,), (PASSAGE, replace(PASSAGE, text="b"), PASSAGE), ((0,), (1,), (2,)))
    found = entries.keys("model", plan)
    assert found[0] == found[2] == key()


@pytest.mark.parametrize("version", ["TEMPLATE_VERSION", "NEUTRALISATION_VERSION", "_FORMAT"])
def test_another_version_never_hits(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    monkeypatch.setattr(entries, version, getattr(entries, version) + 1)
    assert key() != before


@given(texts(6), texts(6))
def test_no_two_texts_run_into_one_another(one: str, other: str) -> None:
    def of(task: str, part: str) -> str:
        return key(query=replace(QUERY, instruction=task, part=part, ids=None))

    assert of(one, other) == of(one, other)
    if other:
        assert of(one + other, "") != of(one, other)


@given(
    st.floats(0, 1),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.integers(0, 2**40),
)
def test_a_score_comes_back_as_it_was(score: float, logit: float | None, kept: int | None) -> None:
    written = Score(score, logit, kept)
    assert entries.score_of(KEY, entries.entry(KEY, written)) == replace(written, cached=True)


@given(st.integers(0, 31), st.integers(1, 255))
def test_a_damaged_entry_is_none(position: int, change: int) -> None:
    whole = bytearray(entries.entry(KEY, Score(0.5, 0.0)))
    whole[position] ^= change
    assert entries.score_of(KEY, bytes(whole)) is None


@pytest.mark.parametrize("value", [None, b"", b"x" * 31, b"x" * 33, "text", 1.0, {"score": 1}])
def test_what_is_no_entry(value: object) -> None:
    assert entries.score_of(KEY, value) is None


def test_an_entry_is_for_its_key() -> None:
    assert entries.score_of("qwen3-rerank-1", entries.entry(KEY, Score(0.5))) is None
