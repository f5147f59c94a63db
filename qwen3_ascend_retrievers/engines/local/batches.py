"""Which passages go through the model together, and which share their query part. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from ...core.batching import batches_by_length
from ...core.plan import Plan

# For fewer passages, batching whole prompts across queries beats a pass for the query.
_MIN_SHARING_PASSAGES: Final = 4
# A shared query part rules out the causal kernel, which skips half of the attention. Measured on a
# CPU with layers of the 0.6B's shape and a query part of 80 tokens, sharing saves 44 % at 100
# document tokens and 5 % at 800, and costs 4 % at 1,600 and 24 % at 3,200.
# In document tokens per query token.
_MAX_SHARING_RATIO: Final = 15


@dataclass(frozen=True, slots=True)
class Batch:
    """Passages for one forward pass.

    Attributes:
        passages: positions in `Plan.passages`.
        rows: for each its whole prompt's token ids, or its document part's.
        shared: the query part of all of them, where the rows are document parts; else None.
    """

    passages: tuple[int, ...]
    rows: tuple[tuple[int, ...], ...]
    shared: tuple[int, ...] | None


def plan_batches(plan: Plan, max_tokens: int) -> list[Batch]:
    """Every passage of a plan in one batch, those that share a query in a row, longest first.

    Args:
        plan: its queries and passages have token ids.
        max_tokens: prompt tokens of one batch, padding included. A longer prompt runs alone.
    """
    batches = []
    for query, members in _groups(plan).items():
        prompts = [plan.prompt_ids(passage) or () for passage in members]
        shared = None if query is None else plan.queries[query].ids or ()
        skip = len(shared or ())
        for positions in batches_by_length([len(ids) for ids in prompts], max_tokens):
            passages = tuple(members[at] for at in positions)
            batches.append(Batch(passages, tuple(prompts[at][skip:] for at in positions), shared))
    return batches


def _groups(plan: Plan) -> dict[int | None, list[int]]:
    """Passages by the query whose part they share; under None those that share none."""
    groups: dict[int | None, list[int]] = defaultdict(list)
    for at, passage in enumerate(plan.passages):
        query_ids = plan.queries[passage.query].ids or ()
        long = len(passage.ids or ()) > len(query_ids) * _MAX_SHARING_RATIO
        groups[None if long else passage.query].append(at)
    small = [query for query, members in groups.items() if len(members) < _MIN_SHARING_PASSAGES]
    for query in small:
        if query is not None:
            groups[None] += groups.pop(query)
    return groups
