"""From scores to a ranking: validation, windows, duplicates, order, threshold and top_n."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

from .._util.pickles import loads_older_pickles
from ..errors import RerankError, ScoreError
from ..settings import Combine, is_finite, printed
from .plan import Cut, Passage, Plan
from .prompt import original_offset

Status = Literal["reranked", "kept_order"]
# The constant of reciprocal rank fusion (Cormack, Clarke & Buettcher 2009).
RRF_CONSTANT: Final = 60


class Stage(NamedTuple):
    """Which stage of a cascade of models gave a score.

    Attributes:
        number: from 1.
        of: how many stages there are.
    """

    number: int
    of: int

    @property
    def left(self) -> int:
        """How many stages come after it."""
        return self.of - self.number


@loads_older_pickles
@dataclass(frozen=True, slots=True)
class Score:
    """An engine's score of one passage.

    Attributes:
        score: P(yes), in [0, 1].
        logit: logit("yes") - logit("no"), of which `score` is the sigmoid; None if unknown.
        kept: code points of the passage's text that were scored, if the engine had to cut it
            further than the plan did; None if all.
        stage: which stage of a cascade gave it; None without a cascade.
        cached: whether it comes from a cache of scores.
    """

    score: float
    logit: float | None = None
    kept: int | None = None
    stage: Stage | None = None
    cached: bool = False

    @property
    def stages_left(self) -> int:
        """How many stages of a cascade the passage did not reach."""
        return 0 if self.stage is None else self.stage.left

    @classmethod
    def of_logit(cls, logit: float, kept: int | None = None) -> Score:
        """The score of a logit: its sigmoid (model card, `compute_logits`)."""
        return cls(sigmoid(logit), logit, kept)


@dataclass(frozen=True, slots=True)
class Unscored:
    """A passage that could not be scored for a reason of its own, while others were.

    Attributes:
        error: the error of scoring it alone, such as a server that refuses its text.
    """

    error: RerankError


PassageScore = Score | Unscored


def sigmoid(logit: float) -> float:
    """1 / (1 + exp(-logit)), without overflow for any finite logit; NaN stays NaN."""
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    return math.exp(logit) / (1 + math.exp(logit)) if logit < 0 else math.nan


class Fusion(NamedTuple):
    """Reciprocal rank fusion of one document's two ranks, from 1.

    Attributes:
        rank: by score.
        retriever_rank: in the input.
        score: 1 / (60 + rank) + 1 / (60 + retriever_rank).
    """

    rank: int
    retriever_rank: int
    score: float


@loads_older_pickles
@dataclass(frozen=True, slots=True)
class RankedDocument:
    """One document of a ranking.

    Attributes:
        index: its position in the input.
        document: its text, as it was passed.
        score: relevance, P(yes) in [0, 1]; None if it was not scored, or if the input order was
            kept after an error.
        logit: logit("yes") - logit("no"); None where the engine does not report it.
        tokens: prompt tokens of what was scored; None where they were not counted.
        span: what was scored, as code points [start, end) of `document`; None if nothing was.
        truncated: whether part of the document was scored nowhere.
        cut: how a truncation was decided: "no", "exact" by tokens, or "estimated". Windows that
            cover the document cut nothing; "estimated" means that their ends were not counted.
        window: which of the document's `windows` won, from 0; None where there was one passage.
        windows: how many windows were scored; 1 for an ordinary document.
        error: why this document could not be scored while others were; else None.
        stage: which stage of a cascade gave the score; None without a cascade.
        fusion: what `combine="rrf"` ordered by; None without it.
    """

    index: int
    document: str
    score: float | None
    logit: float | None = None
    tokens: int | None = None
    span: tuple[int, int] | None = None
    truncated: bool = False
    cut: Cut = "no"
    window: int | None = None
    windows: int = 1
    error: RerankError | None = None
    stage: Stage | None = None
    fusion: Fusion | None = None


def check_scores(scores: Any, count: int) -> list[PassageScore]:
    """An engine's scores, if there is one for each of `count` passages and each is valid.

    Raises:
        ScoreError: the count is wrong, or a score is not a finite number in [0, 1].
    """
    if not isinstance(scores, list | tuple) or len(scores) != count:
        got = len(scores) if isinstance(scores, list | tuple) else type(scores).__name__
        raise ScoreError(
            f"The engine returned {got} scores for {count} passages, which is a fault in it. "
            "Report it with the model and engine in use."
        )
    for at, score in enumerate(scores):
        if isinstance(score, Unscored):
            continue
        if not isinstance(score, Score) or not _is_valid(score):
            raise ScoreError(
                f"The engine's score {printed(score)} for passage {at} is no finite probability. "
                "Run `qwen3-rerank doctor`, or report it with the model and engine in use."
            )
    return list(scores)


def _is_valid(score: Score) -> bool:
    if score.logit is not None and not is_finite(score.logit):
        return False
    return is_finite(score.score) and 0 <= score.score <= 1


def rank(
    plan: Plan,
    scores: Sequence[PassageScore],
    documents: Sequence[str],
    *,
    top_n: int | None,
    threshold: float | None,
    combine: Combine | None = None,
) -> list[RankedDocument]:
    """The documents by score, ties by input position, without those below `threshold`.

    In a cascade those of a later stage come first, and the threshold is for the last one's scores.
    Documents without a score come after all others, in the input's order and with their error.
    """
    ranked: list[tuple[int, float, int]] = []
    unscored: list[int] = []
    winners = [_winner(positions, scores) for positions in plan.inputs]
    for index, winner in enumerate(winners):
        score = scores[winner]
        if isinstance(score, Unscored):
            unscored.append(index)
            continue
        # Most have none, and a property takes longer than the rest.
        left = 0 if score.stage is None else score.stages_left
        if threshold is None or score.score >= threshold or left:
            ranked.append((left, -score.score, index))
    ranked.sort()
    by_score = [index for _, _, index in ranked]
    fusions = _fusions(by_score) if combine == "rrf" else {}
    order = [*(fusions or by_score), *unscored]
    # Only what is returned is worth an object.
    results = [
        _ranked_document(plan, scores[winners[index]], winners[index], index, documents[index])
        for index in order[:top_n]
    ]
    if not fusions:
        return results
    return [replace(result, fusion=fusions.get(result.index)) for result in results]


def _fusions(by_score: Sequence[int]) -> dict[int, Fusion]:
    """Those of the input positions, best first, ties by position."""
    fusions = {}
    for rank, index in enumerate(by_score, 1):
        fused = 1 / (RRF_CONSTANT + rank) + 1 / (RRF_CONSTANT + index + 1)
        fusions[index] = Fusion(rank, index + 1, fused)
    return dict(sorted(fusions.items(), key=lambda pair: (-pair[1].score, pair[0])))


def best_scores(plan: Plan, scores: Sequence[PassageScore]) -> list[Score]:
    """For each input, the score of its best passage (MaxP, Dai & Callan 2019).

    Raises:
        RerankError: an input's own, if none of its passages could be scored.
    """
    best: list[Score] = []
    for positions in plan.inputs:
        score = scores[_winner(positions, scores)]
        if isinstance(score, Unscored):
            raise score.error
        best.append(score)
    return best


def _winner(positions: Sequence[int], scores: Sequence[PassageScore]) -> int:
    """The best passage, the first of equals; one without a score only if all are.

    One that a later stage of a cascade scored is better than any of an earlier stage.
    """
    if len(positions) == 1:
        return positions[0]

    def merit(position: int) -> tuple[float, float, int]:
        score = scores[position]
        if isinstance(score, Unscored):
            return -math.inf, 0.0, -position
        return -score.stages_left, score.score, -position

    return max(positions, key=merit)


def _ranked_document(
    plan: Plan, score: PassageScore, winner: int, index: int, document: str
) -> RankedDocument:
    if isinstance(score, Unscored):
        return RankedDocument(index, document, None, error=score.error)
    positions, passage = plan.inputs[index], plan.passages[winner]
    engine_truncated = score.kept is not None
    span = passage.span
    if score.kept is not None:
        span = _truncated_span(plan, passage, score.kept, document)
    return RankedDocument(
        index=index,
        document=document,
        score=score.score,
        logit=score.logit,
        tokens=None if engine_truncated else plan.tokens(winner),
        span=span,
        truncated=engine_truncated or (passage.cut != "no" and len(positions) == 1),
        cut="estimated" if engine_truncated else passage.cut,
        window=winner - positions[0] if len(positions) > 1 else None,
        windows=len(positions),
        stage=score.stage,
    )


def _truncated_span(plan: Plan, passage: Passage, length: int, document: str) -> tuple[int, int]:
    """What was scored of a passage of whose text the engine took `length` code points."""
    start, end = passage.span
    if plan.neutralised:
        length = original_offset(document[start:], length)
    return start, min(end, start + length)


def keep_order(documents: Sequence[str], top_n: int | None) -> list[RankedDocument]:
    """The input order, without scores: what `on_error="keep_order"` returns."""
    return [RankedDocument(at, document, None) for at, document in enumerate(documents)][:top_n]
