"""Logits of results, and by how much two right computations of one may differ."""

from __future__ import annotations

import math

from ...core.ranking import RankedDocument


def logit_of(result: RankedDocument) -> float:
    """The logit of a result, from its score where the engine reports none.

    Raises:
        RerankError: the result's own, if it could not be scored.
    """
    if result.score is None and result.error is not None:
        raise result.error
    return logit_of_probability(result.score or 0.0) if result.logit is None else result.logit


def logit_of_probability(score: float) -> float:
    """The logit of a probability, kept finite as a float32 probability would be."""
    bounded = min(max(score, 1e-7), 1 - 1e-7)
    return math.log(bounded / (1 - bounded))


def noise_of(logit: float) -> float:
    """What rounding may change in a logit: bf16's 2 %, and a little."""
    return 0.1 + 0.02 * abs(logit)
