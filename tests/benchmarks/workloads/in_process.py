"""LocalEngine beside the model card's code and sentence-transformers, on one checkpoint."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.checkpoint import model_folder
from benchmarks.engine_turns import measure_scorers
from benchmarks.pairs import long_documents, many_queries, one_query
from benchmarks.scale import Scale
from benchmarks.scorers import CARD, CROSS_ENCODER, LOCAL, card, cross_encoder, local
from benchmarks.tables import Table, ratio_rows

ONE_QUERY = "one query, short documents"
LONG = "one query, long documents"
MANY_QUERIES = "several queries, short documents"
NAMES = (LOCAL, CARD, CROSS_ENCODER)
# Most difference of a score: rounding in another order, of which bfloat16 has 8 bits.
TOLERANCES = {"float32": 1e-4, "bfloat16": 0.1}


def measure(scale: Scale, dtype: str = "float32") -> dict[str, Any]:
    """By kind of pairs, what all contenders took."""
    kinds = {ONE_QUERY: one_query(scale)}
    if dtype == "float32":
        kinds |= {LONG: long_documents(scale), MANY_QUERIES: many_queries(scale)}
    model = model_folder(scale)
    builders = {
        LOCAL: partial(local, model, dtype),
        CARD: partial(card, model, dtype),
        CROSS_ENCODER: partial(cross_encoder, model, dtype),
    }
    # To the model card's code these pairs are those of one query, and they take minutes.
    left_out = {MANY_QUERIES: (CARD,)}
    return measure_scorers(builders, kinds, scale, TOLERANCES[dtype], left_out=left_out)


def tables(runs: dict[str, Any]) -> list[Table]:
    """Times beside LocalEngine's."""
    rows = ratio_rows(NAMES, runs, base=LOCAL, peers=(CARD, CROSS_ENCODER), ours=LOCAL)
    return [Table(("time / `LocalEngine`'s time", *runs), rows)]
