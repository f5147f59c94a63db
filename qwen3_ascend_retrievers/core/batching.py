"""Which inputs go together in one call. Positions in, lists of positions out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


def batches_by_length(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Positions in batches of like length, longest first, for a padded forward pass.

    Args:
        lengths: tokens of each input, at least 0.
        max_tokens: budget of one batch, padding included: longest times count. A single input
            that exceeds it gets a batch of its own.
    """
    batches: list[list[int]] = []
    longest = 0
    for position in sorted(range(len(lengths)), key=lambda at: -lengths[at]):
        if not batches or longest * (len(batches[-1]) + 1) > max_tokens:
            batches.append([])
            longest = max(1, lengths[position])
        batches[-1].append(position)
    return batches


def portions(
    lengths: Iterable[int], *, max_count: int, max_tokens: int | None
) -> Iterator[list[int]]:
    """Positions in their order, at most `max_count` at a time and `max_tokens` in sum.

    A single input that exceeds `max_tokens` gets a portion of its own; None sets no such limit.
    """
    portion: list[int] = []
    total = 0
    for position, length in enumerate(lengths):
        over = max_tokens is not None and total + length > max_tokens
        if portion and (over or len(portion) == max_count):
            yield portion
            portion, total = [], 0
        portion.append(position)
        total += length
    if portion:
        yield portion
