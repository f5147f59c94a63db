"""Do two routes score the same prompt alike? Judged against the noise and against a known mutant.

A fixed tolerance would be wrong for one dtype or another: bf16 scores of one prompt differ between
batches by more than a lost newline changes a float32 score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from .ranking import sigmoid

# Differences that float32 accounts for, in logits and in probabilities.
_FLOAT32_TOLERANCE: Final = 1e-3
# Two runs of a bf16 model may give probabilities this far apart for one prompt.
_PROBABILITY_TOLERANCE: Final = 0.05
# What bf16 may change, as a share of the largest logit (docs/decisions/5-parity.md).
_SHARE_OF_LARGEST_LOGIT: Final = 0.02
# Beyond this logit a float32 probability is too close to 0 or 1 to recover it.
_READABLE: Final = 8.0

ScoreKind = Literal["logits", "probabilities", "neither"]


def kind_of(values: Sequence[float], probabilities: Sequence[float]) -> ScoreKind:
    """What `values` are, given the probabilities of the same prompts from another request."""
    pairs = list(zip(values, probabilities, strict=True))
    as_logits = [abs(sigmoid(value) - probability) for value, probability in pairs]
    as_probabilities = [abs(value - probability) for value, probability in pairs]
    best = as_logits if sum(as_logits) < sum(as_probabilities) else as_probabilities
    if max(best) > _PROBABILITY_TOLERANCE:
        return "neither"
    return "logits" if best is as_logits else "probabilities"


def tells_logits(values: Sequence[float], probabilities: Sequence[float]) -> bool:
    """Whether `values` are the logits of these probabilities."""
    return kind_of(values, probabilities) == "logits"


def look_like_probabilities(values: Sequence[float]) -> bool:
    """Whether numbers that should be logits might be probabilities: all are in [0, 1]."""
    return all(0 <= value <= 1 for value in values)


def readable_logit(probability: float) -> float:
    """The logit of a probability, as far as float32 can resolve it: from -8 to 8."""
    bound = sigmoid(_READABLE)
    clamped = min(max(probability, 1 - bound), bound)
    return math.log(clamped / (1 - clamped))


def same_logits(first: Sequence[float], again: Sequence[float], *, runs: int = 1) -> bool:
    """Whether two runs of the same prompts differ by no more than noise.

    Args:
        first: logits.
        again: the other run's.
        runs: 2 if the runs may differ in dtype too, so that each has its own noise.
    """
    bfloat16_noise = runs * _SHARE_OF_LARGEST_LOGIT * max(map(abs, first))
    return _largest_difference(first, again) <= max(_FLOAT32_TOLERANCE, bfloat16_noise)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Scores of exact prompts, to compare another route's with.

    Attributes:
        exact: their logits.
        mutant: logits of the same prompts with one final newline fewer.
        noise: how far the same prompt's logits were apart in two requests.
    """

    exact: tuple[float, ...]
    mutant: tuple[float, ...]
    noise: float

    @classmethod
    def of(
        cls, exact: Sequence[float], mutant: Sequence[float], probabilities: Sequence[float]
    ) -> Agreement:
        """From logits of both kinds and the exact prompts' probabilities in another request."""
        differences = [
            abs(logit - math.log(probability / (1 - probability)))
            for logit, probability in zip(exact, probabilities, strict=True)
            if abs(logit) < _READABLE and 0 < probability < 1
        ]
        unmeasured = _SHARE_OF_LARGEST_LOGIT * max(map(abs, exact))
        return cls(tuple(exact), tuple(mutant), max(differences, default=unmeasured))

    def holds(self, values: Sequence[float], *, logits: bool) -> bool:
        """Whether `values` are of the exact prompts and not of the mutants; NaN is of none."""
        exact, mutant = self.exact, self.mutant
        # Checked first, as the largest of some numbers and NaN depends on their order.
        if not all(map(math.isfinite, (*exact, *mutant, *values))):
            return False
        noise, share = 3 * self.noise, _SHARE_OF_LARGEST_LOGIT * max(map(abs, exact))
        if not logits:
            exact, mutant = tuple(map(sigmoid, exact)), tuple(map(sigmoid, mutant))
            # A quarter is the sigmoid's steepest slope.
            noise, share = noise / 4, share / 4
        nearer = min(share, _largest_difference(values, mutant) / 4)
        return _largest_difference(values, exact) <= max(_FLOAT32_TOLERANCE, noise, nearer)


def _largest_difference(first: Sequence[float], second: Sequence[float]) -> float:
    return max(abs(value - other) for value, other in zip(first, second, strict=True))
