"""Which passages go through the model together, and what their rows begin with. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Final, NamedTuple

from ...core.batching import portions
from ...core.plan import Plan
from ...core.tokens import TokenIds

# For fewer passages of a query, its part goes in their rows: the keys and values of a part of 80
# tokens take 18 MB of the 0.6B, and a pass for them its time.
_MIN_SHARING_PASSAGES: Final = 3
# A prefix rules out the causal kernel, which skips half of the attention. Measured on a CPU with
# layers of the 0.6B's shape and a query part of 80 tokens, sharing saves 44 % at 100 document
# tokens and 5 % at 800, and costs 4 % at 1,600 and 24 % at 3,200.
# In document tokens per query token.
_MAX_SHARING_RATIO: Final = 15


class Prefix(NamedTuple):
    """The beginning of a prompt.

    Attributes:
        ids: its tokens; none for nothing.
        stem: how many of them are the template's and the instruction's.
    """

    ids: TokenIds = ()
    stem: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Passages for one forward pass.

    Attributes:
        passages: positions in `Plan.passages`.
        rows: for each the token ids that come after its prefix.
        prefixes: for each what its prompt begins with, empty if all of it is in the row.
    """

    passages: tuple[int, ...]
    rows: tuple[TokenIds, ...]
    prefixes: tuple[Prefix, ...]


def plan_batches(plan: Plan, stems: Mapping[str, TokenIds], max_tokens: int) -> list[Batch]:
    """Every passage of a plan in one batch, in the plan's order.

    Args:
        plan: its queries and passages have token ids.
        stems: instruction -> tokens that every prompt with it begins with.
        max_tokens: tokens of one batch, those of its queries included. A longer prompt runs alone.
    """
    query_prefixes = [
        Prefix(query.ids or (), _common_length(query.ids or (), stems[query.instruction]))
        for query in plan.queries
    ]
    counts = Counter(passage.query for passage in plan.passages)
    prefixes: list[Prefix] = []
    sizes: list[int] = []
    charged: set[int] = set()
    for passage in plan.passages:
        whole, length = query_prefixes[passage.query], len(passage.ids or ())
        if length > len(whole.ids) * _MAX_SHARING_RATIO:
            prefix = Prefix()
        elif counts[passage.query] < _MIN_SHARING_PASSAGES:
            prefix = Prefix(whole.ids[: whole.stem], whole.stem)
        else:
            prefix = whole
        prefixes.append(prefix)
        size = length + len(whole.ids) - len(prefix.ids)
        if prefix is whole and passage.query not in charged:
            charged.add(passage.query)
            size += len(whole.ids) - whole.stem
        sizes.append(size)
    return [
        Batch(
            tuple(portion),
            tuple([(plan.prompt_ids(at) or ())[len(prefixes[at].ids) :] for at in portion]),
            tuple([prefixes[at] for at in portion]),
        )
        for portion in portions(sizes, max_count=len(plan.passages), max_tokens=max_tokens)
    ]


def _common_length(ids: TokenIds, stem: TokenIds) -> int:
    """How many tokens they begin with are the same."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(ids, stem, strict=False)))
