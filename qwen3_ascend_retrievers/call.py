"""One call of the facade, as questions and answers: facts, tokens, scores, then a ranking.

`drive_call` and `adrive_call` put the same questions to an engine and differ in the waiting.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ._util.progress import progress_bar
from .core.plan import Limits, Plan
from .core.planner import plan_steps
from .core.ranking import PassageScore, Score, Unscored, best_scores, check_scores, keep_order, rank
from .core.results import Ranking, Timings, Usage
from .core.steps import Steps, adrive, drive
from .core.tokens import estimate
from .core.validation import Pair, check_untemplated
from .engines.base import Call, Engine, EngineFacts
from .errors import (
    InvalidInputError,
    MissingDependencyError,
    RemoteError,
    RerankCancelled,
    RerankError,
    TooLongError,
    summary,
)
from .settings import RerankSettings

logger = logging.getLogger(__name__)

# Errors that a kept order would hide from the one person who can mend them.
_ALWAYS_RAISED = (InvalidInputError, MissingDependencyError, RerankCancelled)


@dataclass(slots=True)
class RankCall:
    """One call: what was asked, and what has been learnt so far.

    Attributes:
        pairs: checked (query, document) pairs.
        instruction: the task, in its final words.
        settings: the reranker's, with this call's overrides.
        show_progress: whether a bar is shown while passages are scored.
        call: what goes to the engine with the plan.
    """

    pairs: list[Pair]
    instruction: str
    settings: RerankSettings
    show_progress: bool
    call: Call
    started: float = field(default_factory=time.perf_counter)
    planned: float = 0.0
    facts: EngineFacts | None = None
    plan: Plan | None = None
    scores: list[PassageScore] = field(default_factory=list)

    def best_scores(self) -> list[Score]:
        """One score for each pair."""
        assert self.plan is not None
        return best_scores(self.plan, self.scores)


def drive_call(engine: Engine, todo: RankCall) -> None:
    """Score everything, blocking."""

    def answer(question: Any) -> Any:
        if question is None:
            return engine.facts()
        if isinstance(question, Plan):
            with _progress(todo, question):
                return engine.score(question, todo.call)
        return engine.encode(question)

    try:
        drive(_steps(todo), answer)
    except RemoteError as error:
        failure = error.with_traceback(None)
    else:
        return
    # The way through the steps says nothing of what happened on a server.
    raise failure


async def adrive_call(engine: Engine, todo: RankCall) -> None:
    """The same without blocking the event loop; cancelling the task tells the engine."""

    async def answer(question: Any) -> Any:
        if question is None:
            return await engine.afacts()
        if isinstance(question, Plan):
            with _progress(todo, question):
                return await engine.ascore(question, todo.call)
        return await engine.aencode(question)

    try:
        await adrive(_steps(todo), answer)
    except RemoteError as error:
        todo.call.cancelled.set()
        failure = error.with_traceback(None)
    except BaseException:
        todo.call.cancelled.set()
        raise
    else:
        return
    raise failure


def _steps(todo: RankCall) -> Steps[Any, Any, None]:
    """Questions: None for the facts, texts to encode, a plan to score."""
    todo.facts = facts = yield None
    settings = todo.settings
    if facts.templated:
        check_untemplated(todo.pairs)
    bounds = [one for one in (facts.max_length, settings.max_length) if one is not None]
    limits = Limits(
        max_length=min(bounds, default=None),
        counting=facts.counting,
        overflow=settings.overflow,
        window_overlap=settings.window_overlap,
        neutralise=facts.templated,
    )
    planning = plan_steps(todo.pairs, todo.instruction, limits)
    if facts.counting == "never":
        todo.plan = drive(planning, estimate)
    else:
        todo.plan = yield from planning
    todo.planned = time.perf_counter()
    todo.call.check()
    todo.scores = check_scores((yield todo.plan), len(todo.plan.passages))
    if settings.overflow == "error":
        _refuse_cuts(todo.plan, todo.scores)


def _refuse_cuts(plan: Plan, scores: Sequence[PassageScore]) -> None:
    """Raise TooLongError if an engine cut a document whose length nobody could know before."""
    for at, score in enumerate(scores):
        if isinstance(score, Score) and score.kept is not None:
            index = plan.input_of(at)
            raise TooLongError(
                f"documents[{index}] does not fit the server. Shorten it, split it, or use "
                "overflow='truncate' or 'window'.",
                index=index,
            )


@contextmanager
def _progress(todo: RankCall, plan: Plan) -> Iterator[None]:
    with progress_bar(len(plan.passages), show=todo.show_progress) as advance:
        todo.call = replace(todo.call, progress=advance)
        yield


def ranking_of(todo: RankCall, texts: Sequence[str]) -> Ranking:
    """The ranking of a call whose scores have come."""
    plan, facts, settings = todo.plan, todo.facts, todo.settings
    assert plan is not None
    assert facts is not None
    threshold = settings.score_threshold
    results = rank(plan, todo.scores, texts, top_n=settings.top_n, threshold=threshold)
    _warn_of_unscored(plan, todo.scores)
    tokens = [plan.tokens(passage) for passage in range(len(plan.passages))]
    counted = None if None in tokens else sum(one for one in tokens if one is not None)
    now = time.perf_counter()
    return Ranking(
        tuple(results),
        usage=Usage(len(texts), len(plan.passages), counted),
        timings=Timings(todo.planned - todo.started, now - todo.planned, now - todo.started),
        model=facts.model,
        template_verified=facts.template_verified,
    )


def _warn_of_unscored(plan: Plan, scores: Sequence[PassageScore]) -> None:
    unscored = [(at, score.error) for at, score in enumerate(scores) if isinstance(score, Unscored)]
    if unscored:
        passage, error = unscored[0]
        logger.warning(
            "%d of %d texts could not be scored and come last; the first is documents[%d] (%s).",
            len(unscored),
            len(scores),
            plan.input_of(passage),
            type(error).__name__,
        )


def kept_order(todo: RankCall, texts: Sequence[str], error: RerankError) -> Ranking:
    """The input order where the settings ask for it; else `error` is raised again."""
    if todo.settings.on_error != "keep_order" or isinstance(error, _ALWAYS_RAISED):
        raise error
    logger.warning("Reranking failed, the input order is kept: %s", summary(error))
    return Ranking(
        tuple(keep_order(texts, todo.settings.top_n)),
        status="kept_order",
        usage=Usage(len(texts), 0, None),
        timings=Timings(total=time.perf_counter() - todo.started),
        model=todo.facts.model if todo.facts else None,
        error=error,
    )
