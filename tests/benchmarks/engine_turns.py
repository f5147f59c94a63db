"""Contenders in this process, timed in turns on new pairs in each round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.pairs import Pair, PairsOfRound
from benchmarks.scale import Scale
from benchmarks.scorers import Scorer
from benchmarks.turns import NoServer, Turns, in_turns, reason_of

_WARM_UP_ROUND = -1
_WARM_UP_PAIRS = 2


def measure_scorers(
    builders: Mapping[str, Callable[[], Scorer]],
    kinds: Mapping[str, PairsOfRound],
    scale: Scale,
    tolerance: float,
    *,
    left_out: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """By kind of pairs, what all contenders took.

    Args:
        builders: of the contenders, of which the first says what is right.
        kinds: what is scored.
        scale: whose `engine_rounds` count.
        tolerance: most difference of a score.
        left_out: kind -> contenders that would take too long.
    """
    building = Turns(NoServer())
    scorers = building.build(builders)
    runs = {}
    for kind, pairs_of in kinds.items():
        turns = Turns(NoServer())
        turns.refused |= building.refused
        absent = (left_out or {}).get(kind, ())
        timed = [scorer for scorer in scorers if scorer.name not in absent]
        _time(turns, timed, pairs_of, scale.engine_rounds, tolerance)
        runs[kind] = turns.record(dropped=0)
    return runs


def _time(
    turns: Turns,
    scorers: Sequence[Scorer],
    pairs_of: PairsOfRound,
    rounds: int,
    tolerance: float,
) -> None:
    for scorer in scorers:
        scorer.score(pairs_of(_WARM_UP_ROUND)[:_WARM_UP_PAIRS])
    scores: dict[int, dict[str, list[float]]] = {}
    for at, scorer in enumerate(in_turns(scorers, rounds) if scorers else ()):
        number = at // len(scorers)
        pairs = pairs_of(number)
        if scorer.name not in turns.refused:
            scores.setdefault(number, {})[scorer.name] = _timed(turns, scorer, pairs)
    for by_name in scores.values():
        expected = by_name[scorers[0].name]
        for name, found in by_name.items():
            _check(turns, name, found, expected, tolerance)


def _timed(turns: Turns, scorer: Scorer, pairs: list[Pair]) -> list[float]:
    try:
        with turns.timed(scorer.name, 1):
            return scorer.score(pairs)
    except Exception as error:
        turns.refused[scorer.name] = reason_of(error)
        return []


def _check(
    turns: Turns, name: str, found: Sequence[float], expected: Sequence[float], tolerance: float
) -> None:
    if name in turns.refused:
        return
    most = max(abs(one - other) for one, other in zip(found, expected, strict=True))
    if most > tolerance:
        turns.refused[name] = f"scores differ by {most:.2g}"
