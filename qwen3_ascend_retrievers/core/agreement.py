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

# Float32's share of the differences, in logits and in probabilities.
_FLOOR: Final = 1e-3
# Two runs of a bf16 model may give probabilities this far apart for one prompt.
_LOOSE: Final = 0.05
# What bf16 may change, as a share of the largest logit (DESIGN, rule 1).
_SHARE: Final = 0.02
# Beyond this logit a float32 probability says too little of it.
_READABLE: Final = 8.0

Kind = Literal["logits", "probabilities", "neither"]


def kind_of(values: Sequence[float], probabilities: Sequence[float]) -> Kind:
    """What `values` are, given the probabilities of the same prompts from another request."""
    as_logits = [abs(sigmoid(one) - p) for one, p in zip(values, probabilities, strict=True)]
    as_they_are = [abs(one - p) for one, p in zip(values, probabilities, strict=True)]
    best = as_logits if sum(as_logits) < sum(as_they_are) else as_they_are
    if max(best) > _LOOSE:
        return "neither"
    return "logits" if best is as_logits else "probabilities"


def tells_logits(values: Sequence[float], probabilities: Sequence[float]) -> bool:
    """Whether `values` are the logits of these probabilities."""
    return kind_of(values, probabilities) == "logits"


def look_like_probabilities(values: Sequence[float]) -> bool:
    """Whether numbers that should be logits might be probabilities: all are in [0, 1]."""
    return all(0 <= one <= 1 for one in values)


def readable_logit(probability: float) -> float:
    """The logit of a probability, as far as float32 tells it: from -8 to 8."""
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
    return _apart(first, again) <= max(_FLOOR, runs * _SHARE * max(map(abs, first)))


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
        cls, exact: Sequence[float], mutant: Sequence[float], again: Sequence[float]
    ) -> Agreement:
        """From logits of both kinds and the exact prompts' probabilities in another request."""
        readable = [
            abs(one - math.log(p / (1 - p)))
            for one, p in zip(exact, again, strict=True)
            if abs(one) < _READABLE and 0 < p < 1
        ]
        unread = _SHARE * max(map(abs, exact))
        return cls(tuple(exact), tuple(mutant), max(readable, default=unread))

    def holds(self, values: Sequence[float], *, logits: bool) -> bool:
        """Whether `values` are of the exact prompts and not of the mutants; NaN is of none."""
        exact, mutant = self.exact, self.mutant
        # Said first, as the largest of some numbers and NaN depends on their order.
        if not all(map(math.isfinite, (*exact, *mutant, *values))):
            return False
        noise, share = 3 * self.noise, _SHARE * max(map(abs, exact))
        if not logits:
            exact, mutant = tuple(map(sigmoid, exact)), tuple(map(sigmoid, mutant))
            # A quarter is the sigmoid's steepest slope.
            noise, share = noise / 4, share / 4
        nearer = min(share, _apart(values, mutant) / 4)
        return _apart(values, exact) <= max(_FLOOR, noise, nearer)


def _apart(some: Sequence[float], others: Sequence[float]) -> float:
    return max(abs(one - other) for one, other in zip(some, others, strict=True))
