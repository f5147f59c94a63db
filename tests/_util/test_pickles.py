"""A pickle from before a field was added loads, and the field has its default."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

from qwen3_ascend_retrievers._util.pickles import loads_older_pickles
from qwen3_ascend_retrievers.core.ranking import Fusion, RankedDocument, Score, Stage


@loads_older_pickles
@dataclass(frozen=True, slots=True)
class Grown:
    """Had one field once."""

    first: int
    added: str = "default"


def test_a_missing_field_gets_its_default() -> None:
    whole = Grown(1, "value")
    assert pickle.loads(pickle.dumps(whole)) == whole
    older = Grown(0)
    older.__setstate__([7])  # type: ignore[attr-defined]
    assert older == Grown(7, "default")


def test_what_has_new_fields_keeps_them() -> None:
    for value in (
        Score(0.5, stage=Stage(1, 2), cached=True),
        RankedDocument(0, "a", 0.5, stage=Stage(2, 2), fusion=Fusion(1, 2, 0.03)),
    ):
        assert pickle.loads(pickle.dumps(value)) == value
