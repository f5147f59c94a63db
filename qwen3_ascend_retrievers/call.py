"""One call of the Reranker, as typed questions to an engine and a frozen outcome.

The generators here decide and ask; `run` and `arun` put their questions to an engine and differ
only in the waiting.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from .core.plan import Limits, Plan
from .core.planner import plan_steps
from .core.ranking import (
    PassageScore,
    RankedDocument,
    Score,
    Unscored,
    best_scores,
    check_scores,
    keep_order,
    rank,
)
from .core.results import Ranking, Timings, Usage
from .core.steps import NeedTokens, Steps, adrive, drive, drive_tokens
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

Result = TypeVar("Result")
# Errors that a kept order would hide from the one person who can mend them.
_ALWAYS_RAISED = (InvalidInputError, MissingDependencyError, RerankCancelled)


@dataclass(frozen=True, slots=True)
class NeedFacts:
    """What does the engine know of its model? Answered with EngineFacts."""


@dataclass(frozen=True, slots=True)
class NeedScores:
    """What do the passages of this plan score? Answered with one PassageScore for each."""

    plan: Plan


Question = NeedFacts | NeedTokens | NeedScores


@dataclass(frozen=True, slots=True)
class Request:
    """What one call asks for.

    Attributes:
        pairs: checked (query, document) pairs.
        instruction: the task, in its final words.
        settings: the reranker's, with this call's overrides.
        show_progress: whether a bar is shown while passages are scored.
        call: what goes to the engine with the plan.
        left: texts behind the first `max_documents`, which are not scored.
    """

    pairs: Sequence[Pair]
    instruction: str
    settings: RerankSettings
    show_progress: bool
    call: Call
    left: Sequence[str] = ()

    @property
    def documents(self) -> list[str]:
        """The texts of the pairs."""
        return [document for _, document in self.pairs]

    def left_documents(self) -> list[RankedDocument]:
        """Those that are not scored, in the input's order."""
        first = len(self.pairs)
        return [RankedDocument(at, text, None) for at, text in enumerate(self.left, first)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an engine made of a request.

    Attributes:
        request: what was asked for.
        facts: what the engine knows of its model.
        plan: what was scored.
        scores: one for each passage of the plan.
        planned: when the plan was ready, by `time.monotonic()`.
    """

    request: Request
    facts: EngineFacts
    plan: Plan
    scores: Sequence[PassageScore]
    planned: float

    def best_scores(self) -> list[Score]:
        """One score for each pair."""
        return best_scores(self.plan, self.scores)


def run(engine: Engine, request: Request, steps: Steps[Question, Any, Result]) -> Result:
    """The result of `steps`, whose questions the engine answers; blocks."""

    def answer(question: Question) -> Any:
        if isinstance(question, NeedTokens):
            return engine.encode(question.texts)
        if isinstance(question, NeedFacts):
            return engine.facts()
        with _scoring_call(request, question.plan) as call:
            return engine.score(question.plan, call)

    try:
        return drive(steps, answer)
    except RemoteError as error:
        failure = error.with_traceback(None)
    # The way through the steps says nothing of what happened on a server.
    raise failure


async def arun(engine: Engine, request: Request, steps: Steps[Question, Any, Result]) -> Result:
    """The same without blocking the event loop; cancelling the task tells the engine."""

    async def answer(question: Question) -> Any:
        try:
            if isinstance(question, NeedTokens):
                return await engine.aencode(question.texts)
            if isinstance(question, NeedFacts):
                return await engine.afacts()
            with _scoring_call(request, question.plan) as call:
                return await engine.ascore(question.plan, call)
        except BaseException:
            request.call.cancelled.set()
            raise

    try:
        return await adrive(steps, answer)
    except RemoteError as error:
        failure = error.with_traceback(None)
    raise failure


def ranking_steps(request: Request) -> Steps[Question, Any, Ranking]:
    """The ranking of a request's documents, or their input order if the settings keep it."""
    facts: EngineFacts | None = None
    try:
        facts = yield NeedFacts()
        outcome = yield from outcome_steps(request, facts)
    except RerankError as error:
        if request.settings.on_error != "keep_order" or isinstance(error, _ALWAYS_RAISED):
            raise
        return _kept_order(request, error, facts)
    return _ranking(outcome)


def outcome_steps(
    request: Request, facts: EngineFacts | None = None
) -> Steps[Question, Any, Outcome]:
    """The scores of a request's pairs, with all that they were made of."""
    if facts is None:
        facts = yield NeedFacts()
    settings = request.settings
    if facts.templated:
        check_untemplated(request.pairs)
    planning = plan_steps(request.pairs, request.instruction, _limits(settings, facts))
    if facts.counting == "never":
        plan = drive_tokens(planning, estimate)
    else:
        plan = yield from planning
    planned = time.monotonic()
    request.call.check()
    scores = check_scores((yield NeedScores(plan)), len(plan.passages))
    if settings.overflow == "error":
        _check_uncut(plan, scores)
    return Outcome(request, facts, plan, scores, planned)


def _limits(settings: RerankSettings, facts: EngineFacts) -> Limits:
    bounds = [bound for bound in (facts.max_length, settings.max_length) if bound is not None]
    return Limits(
        max_length=min(bounds, default=None),
        counting=facts.counting,
        overflow=settings.overflow,
        window_overlap=settings.window_overlap,
        neutralise=facts.templated,
    )


def _check_uncut(plan: Plan, scores: Sequence[PassageScore]) -> None:
    """Raise TooLongError if an engine cut a document whose length nobody could know before."""
    for passage, score in enumerate(scores):
        if isinstance(score, Score) and score.kept is not None:
            index = plan.input_of(passage)
            raise TooLongError(
                f"documents[{index}] does not fit the server. Shorten it, split it, or use "
                "overflow='truncate' or 'window'.",
                index=index,
            )


def _scoring_call(request: Request, plan: Plan) -> AbstractContextManager[Call]:
    """What goes to the engine with the plan, and moves the progress bar if there is one."""
    return _call_with_bar(request, plan) if request.show_progress else nullcontext(request.call)


@contextmanager
def _call_with_bar(request: Request, plan: Plan) -> Iterator[Call]:
    from ._util.progress import progress_bar

    with progress_bar(len(plan.passages)) as advance:
        yield replace(request.call, progress=advance)


def _ranking(outcome: Outcome) -> Ranking:
    request, plan, facts = outcome.request, outcome.plan, outcome.facts
    settings = request.settings
    results = rank(
        plan,
        outcome.scores,
        request.documents,
        top_n=settings.top_n,
        threshold=settings.score_threshold,
        combine=settings.combine,
    )
    if request.left:
        results = [*results, *request.left_documents()][: settings.top_n]
    _warn_of_unscored(plan, outcome.scores)
    started, planned, now = request.call.started, outcome.planned, time.monotonic()
    return Ranking(
        tuple(results),
        usage=Usage(
            len(request.documents) + len(request.left),
            len(plan.passages),
            plan.total_tokens(),
            len([score for score in outcome.scores if isinstance(score, Score) and score.cached]),
        ),
        timings=Timings(planned - started, now - planned, now - started),
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


def _kept_order(request: Request, error: RerankError, facts: EngineFacts | None) -> Ranking:
    """The documents in the input's order, marked."""
    if isinstance(error, RemoteError):
        error = error.with_traceback(None)
    logger.warning("Reranking failed, the input order is kept: %s", summary(error))
    documents = [*request.documents, *request.left]
    return Ranking(
        tuple(keep_order(documents, request.settings.top_n)),
        status="kept_order",
        usage=Usage(len(documents), 0, None),
        timings=Timings(total=time.monotonic() - request.call.started),
        model=facts.model if facts else None,
        error=error,
    )
