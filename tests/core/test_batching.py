"""Batches hold each input once and keep to their limits."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from qwen3_ascend_retrievers.core.batching import batches_by_length, portions

LENGTHS = st.lists(st.integers(0, 50), max_size=40)


@given(LENGTHS, st.integers(1, 120))
def test_batches_of_like_length(lengths: list[int], budget: int) -> None:
    batches = batches_by_length(lengths, budget)
    placed = [at for batch in batches for at in batch]
    assert sorted(placed) == list(range(len(lengths)))
    ordered = [lengths[at] for at in placed]
    assert ordered == sorted(lengths, reverse=True)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[at] for at in batch) <= budget
    for batch, following in pairwise(batches):
        assert (len(batch) + 1) * max(1, lengths[batch[0]]) > budget, following


@given(LENGTHS, st.integers(1, 10), st.none() | st.integers(1, 120))
def test_portions_in_order(lengths: list[int], count: int, tokens: int | None) -> None:
    parts = list(portions(lengths, max_count=count, max_tokens=tokens))
    assert [at for portion in parts for at in portion] == list(range(len(lengths)))
    for portion in parts:
        assert 1 <= len(portion) <= count
        total = sum(lengths[at] for at in portion)
        assert tokens is None or total <= tokens or len(portion) == 1
    for portion, following in pairwise(parts):
        over = tokens is not None and (sum(lengths[at] for at in [*portion, following[0]]) > tokens)
        assert over or len(portion) == count


def test_known_batches() -> None:
    assert batches_by_length([3, 9, 3, 4], 8) == [[1], [3, 0], [2]]
    assert list(portions([3, 9, 3, 4], max_count=2, max_tokens=8)) == [[0], [1], [2, 3]]
    assert list(portions([1] * 5, max_count=2, max_tokens=None)) == [[0, 1], [2, 3], [4]]
