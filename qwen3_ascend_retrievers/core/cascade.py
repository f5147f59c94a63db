"""A cascade of models: what each stage scores, and whose score counts. Questions, no engine.

The idea is that of cascade ranking (Wang, Lin & Metzler 2011): a cheap model scores everything, and
an expensive one only what may be among the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import TooLongError
from .plan import Plan
from .ranking import PassageScore, Score, Stage, Unscored, check_scores
from .steps import Steps
from .tokens import Encoding


@dataclass(frozen=True, slots=True)
class StageLimits:
    """What a stage's engine says of itself.

    Attributes:
        needs_tokens: whether it scores token ids, which must be its own tokenizer's.
        max_length: most tokens of its prompts; None if unknown.
    """

    needs_tokens: bool
    max_length: int | None


@dataclass(frozen=True, slots=True)
class NeedStageTokens:
    """What are the tokens of these prompt parts to the engine of a stage, counted from 0?"""

    stage: int
    texts: list[str]


@dataclass(frozen=True, slots=True)
class NeedStageScores:
    """What do the passages of this plan score in a stage, counted from 0?"""

    stage: int
    plan: Plan


CascadeQuestion = NeedStageTokens | NeedStageScores


def cascade_steps(
    plan: Plan, stages: Sequence[StageLimits], keep: Sequence[int]
) -> Steps[CascadeQuestion, Any, list[PassageScore]]:
    """One score for each passage, marked with the last stage that gave it one.

    Args:
        plan: made with the first stage's tokens.
        stages: of the engines, at least two.
        keep: for each stage but the last, how many documents of a query go on.

    Raises:
        ScoreError: a stage's scores are not valid.
        TooLongError: a stage's own tokenizer makes more tokens of a prompt than it takes.
    """
    scores: list[PassageScore] = []
    positions: Sequence[int] = range(len(plan.passages))
    for stage, limits in enumerate(stages):
        if stage:
            positions = _best_passages(plan, scores, positions, keep[stage - 1])
            if not positions:
                break
        part = plan.part(positions)
        if stage and limits.needs_tokens:
            part = yield from _recounted(part, stage)
            _check_lengths(plan, part, positions, limits.max_length)
        found = check_scores((yield NeedStageScores(stage, part)), len(positions))
        marked = [_marked(score, Stage(stage + 1, len(stages))) for score in found]
        if not stage:
            scores = marked
            continue
        for position, score in zip(positions, marked, strict=True):
            # What only this stage could not score keeps the score that it has.
            if isinstance(score, Score):
                scores[position] = score
    return scores


def _best_passages(
    plan: Plan, scores: Sequence[PassageScore], positions: Sequence[int], keep: int
) -> list[int]:
    """All passages of each query's best documents, of which equal ones count once."""
    reached = set(positions)
    merits: dict[tuple[int, ...], float] = {}
    for windows in dict.fromkeys(plan.inputs):
        found = [scores[window] for window in windows if window in reached]
        values = [score.score for score in found if isinstance(score, Score)]
        if values:
            merits[windows] = max(values)
    by_query: dict[int, list[tuple[int, ...]]] = {}
    for windows in sorted(merits, key=lambda windows: (-merits[windows], windows)):
        by_query.setdefault(plan.passages[windows[0]].query, []).append(windows)
    kept = [windows for documents in by_query.values() for windows in documents[:keep]]
    return sorted({window for windows in kept for window in windows})


def _recounted(plan: Plan, stage: int) -> Steps[CascadeQuestion, Any, Plan]:
    """The plan with the tokens of another stage's tokenizer."""
    parts = [query.part for query in plan.queries]
    parts += [passage.part for passage in plan.passages]
    encodings: Sequence[Encoding] = yield NeedStageTokens(stage, parts)
    ids = [tuple(encoding.ids) for encoding in encodings]
    count = len(plan.queries)
    queries = zip(plan.queries, ids[:count], strict=True)
    passages = zip(plan.passages, ids[count:], strict=True)
    return replace(
        plan,
        queries=tuple([replace(query, ids=own) for query, own in queries]),
        passages=tuple([replace(passage, ids=own) for passage, own in passages]),
    )


def _check_lengths(
    whole: Plan, part: Plan, positions: Sequence[int], max_length: int | None
) -> None:
    for at, position in enumerate(positions):
        length = part.tokens(at)
        if max_length is not None and length is not None and length > max_length:
            index = whole.input_of(position)
            raise TooLongError(
                f"documents[{index}] has {length} tokens with its prompt to a later stage of the "
                f"cascade, which takes {max_length}: the stages' tokenizers differ. Set max_length "
                "a little lower, or take models of one family.",
                index=index,
            )


def _marked(score: PassageScore, stage: Stage) -> PassageScore:
    return score if isinstance(score, Unscored) else replace(score, stage=stage)
