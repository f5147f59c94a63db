"""What each idea in LocalEngine brings: from the model card's code to its forward pass.

All steps have the same weights in one process, and must give the same scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any
from unittest.mock import patch

from benchmarks.checkpoint import model_folder
from benchmarks.engine_turns import measure_scorers
from benchmarks.pairs import Pair, PairsOfRound, one_query
from benchmarks.scale import Scale
from benchmarks.scorers import CARD, LOCAL, Scorer, card, local
from benchmarks.tables import Table, ratio
from benchmarks.workloads.in_process import TOLERANCES
from qwen3_ascend_retrievers.engines.local import batches, packing
from qwen3_ascend_retrievers.engines.local.layers import Layer, Rotation

LAST_LOGITS = "logits of the last tokens only"
PACKED = "documents packed without padding"
LAST_TOKENS = "the last layer for the last tokens only"
STEPS = (CARD, LAST_LOGITS, PACKED, LAST_TOKENS, LOCAL)
SHARED = "the query's part computed once"
_LARGE = 10**9


def measure(scale: Scale) -> dict[str, Any]:
    """What each step took."""
    model = model_folder(scale)
    builders = {
        CARD: partial(card, model, "float32"),
        LAST_LOGITS: partial(card, model, "float32", all_logits=False, name=LAST_LOGITS),
        PACKED: partial(_limited, PACKED, model, all_tokens=True),
        LAST_TOKENS: partial(_limited, LAST_TOKENS, model, all_tokens=False),
        LOCAL: partial(local, model, "float32"),
    }
    kinds = {"": _some(one_query(scale), scale.ablation_passages)}
    runs = measure_scorers(builders, kinds, scale, TOLERANCES["float32"])
    run: dict[str, Any] = runs[""]
    return run


def _some(pairs_of: PairsOfRound, count: int) -> PairsOfRound:
    return lambda number: pairs_of(number)[:count]


def _limited(name: str, model: str, *, all_tokens: bool) -> Scorer:
    """LocalEngine without shared query parts, and with all of the last layer if `all_tokens`."""
    scorer = local(model, "float32")

    def score(pairs: Sequence[Pair]) -> list[float]:
        forward_last: Callable[..., Any] = _forward_all if all_tokens else Layer.forward_last
        with (
            patch.object(batches, "_MIN_SHARING_PASSAGES", _LARGE),
            patch.object(batches, "_common_length", _nothing),
            patch.object(Layer, "forward_last", forward_last),
        ):
            return scorer.score(pairs)

    return Scorer(name, score)


def _nothing(*_: object) -> int:
    return 0


def _forward_all(layer: Layer, hidden: Any, rotation: Rotation, rows: packing.Packing) -> Any:
    """As `Layer.forward_last`, with the last layer computed for all tokens."""
    keys_and_values = layer.key_values(hidden, rotation)
    return layer.forward(hidden, keys_and_values, rotation, rows)[rows.last]


def tables(run: dict[str, Any]) -> list[Table]:
    """Times of each step: the one before beside it, and the model card's code beside it."""
    rows = []
    for before, name in pairwise(STEPS):
        shown = SHARED if name == LOCAL else name
        rows.append([shown, str(ratio(run, before, name)), str(ratio(run, CARD, name))])
    return [
        Table(("added", "times as fast as before", "times as fast as the model card's code"), rows)
    ]
