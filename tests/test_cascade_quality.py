"""A cascade keeps most of the big model's own ranking; a first stage that says nothing does not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.cascade_quality import agreement, first_stages, shuffled

from qwen3_ascend_retrievers import CachedEngine, LocalEngine
from qwen3_ascend_retrievers.testing import FakeEngine

EXAMPLES = Path(__file__).parents[1] / "examples"
DEPTH, KEEP = 60, 20
# Between what counting common words keeps and what chance keeps: a third of the documents go on.
SMALLEST_OVERLAP, SMALLEST_TAU = 0.4, 0.18
Queries = list[tuple[str, list[str]]]


@pytest.fixture(scope="module")
def queries() -> Iterator[Queries]:
    """The demo's questions with the best passages of BM25, in an order that says nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        from language_reference import Bm25, passages
        from questions import QUESTIONS

        index = Bm25(passages())
        yield [
            (question.text, shuffled([one.text for one, _ in index.search(question.text, DEPTH)]))
            for question in QUESTIONS
        ]
    for name in ("language_reference", "questions"):
        sys.modules.pop(name, None)


def test_only_a_first_stage_that_knows_something_keeps_the_ranking(queries: Queries) -> None:
    with CachedEngine(LocalEngine("tiny", device="cpu")) as big:
        found = {
            name: agreement(first, big, KEEP, queries)
            for name, first in first_stages(FakeEngine(), big).items()
        }
    passing = [
        name
        for name, (overlap, tau) in found.items()
        if overlap >= SMALLEST_OVERLAP and tau >= SMALLEST_TAU
    ]
    assert passing == ["small"], found
