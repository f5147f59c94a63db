"""The facade: plan, score, rank. Sync and async share every decision and differ in the waiting."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .core.inputs import Pair, check_documents, check_pairs, check_query
from .core.plan import Limits, Plan
from .core.planning import plan_steps
from .core.prompt import DEFAULT_INSTRUCTION, instruction_for
from .core.ranking import (
    RankedDocument,
    Score,
    Status,
    best_scores,
    check_scores,
    keep_order,
    rank,
)
from .core.steps import Steps, adrive, drive
from .core.tokens import estimate
from .engines.base import Call, Engine, EngineFacts
from .errors import InvalidInputError, MissingDependencyError, RerankCancelled, RerankError
from .progress import progress_bar
from .settings import OnError, Overflow, RerankSettings, check_instruction, check_top_n

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call cost.

    Attributes:
        documents: input documents.
        passages: distinct texts that were scored; duplicates count once, windows one each.
        prompt_tokens: tokens of all prompts; None where they were not counted.
    """

    documents: int
    passages: int
    prompt_tokens: int | None


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds of wall clock: planning (tokenizing, cutting), scoring, and all together.

    The first call's planning holds the loading of the model or the first contact with the server.
    """

    plan: float = 0.0
    score: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class Ranking:
    """The result of `Reranker.rank`.

    Attributes:
        results: documents by score, ties by input position.
        status: "reranked", or "kept_order" when `on_error` kept the input order.
        usage: documents, passages and tokens.
        timings: seconds.
        model: the model that scored; None if none was asked.
        template_verified: see `EngineFacts`.
        error: what went wrong, under "kept_order".
    """

    results: tuple[RankedDocument, ...]
    status: Status = "reranked"
    usage: Usage = Usage(0, 0, 0)
    timings: Timings = Timings()
    model: str | None = None
    template_verified: bool | None = None
    error: RerankError | None = None


@dataclass(slots=True)
class _Scored:
    """What one call has learnt so far."""

    pairs: list[Pair]
    instruction: str
    show_progress: bool
    call: Call
    started: float = field(default_factory=time.perf_counter)
    planned: float = 0.0
    facts: EngineFacts | None = None
    plan: Plan | None = None
    scores: list[Score] = field(default_factory=list)


class Reranker:
    """Ranks documents for a query with any engine. Safe to share between threads and loops.

    Args:
        engine: a LocalEngine, a RemoteEngine, or anything that fulfils `engines.base.Engine`.
        instruction: the task in one sentence (English works best), or the name of a preset in
            `core.prompt.INSTRUCTIONS`; None is web search.
        top_n: how many documents `rank` returns, at least 1; None returns all.
        score_threshold: leaves out documents that score below it, in [0, 1].
        overflow: a document over the budget is cut ("truncate"), scored in overlapping windows of
            which the best counts ("window"), or refused ("error").
        max_length: tokens of a whole prompt; None takes the engine's maximum.
        window_overlap: tokens that neighbouring windows share.
        on_error: "raise", or "keep_order" to return the input order, marked, when scoring fails.
        show_progress: a bar on standard error.

    Raises:
        InvalidInputError: a setting of the wrong type or out of range.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        instruction: str | None = None,
        top_n: int | None = None,
        score_threshold: float | None = None,
        overflow: Overflow = "truncate",
        max_length: int | None = None,
        window_overlap: int = 64,
        on_error: OnError = "raise",
        show_progress: bool = False,
    ) -> None:
        if not isinstance(engine, Engine):
            raise InvalidInputError(
                f"engine must be an engine object such as LocalEngine('tiny'), not {engine!r}."
            )
        self.engine = engine
        self.settings = RerankSettings(
            instruction=instruction,
            top_n=top_n,
            score_threshold=score_threshold,
            overflow=overflow,
            max_length=max_length,
            window_overlap=window_overlap,
            on_error=on_error,
        )
        self._show_progress = show_progress

    def rank(
        self,
        query: str,
        documents: Iterable[str],
        top_n: int | None = None,
        *,
        instruction: str | None = None,
        cancel: threading.Event | None = None,
    ) -> Ranking:
        """Score every document for `query` and order them.

        Args:
            query: what is searched for; not blank.
            documents: candidate texts, in the retriever's order. Empty: no call is made.
            top_n: overrides the reranker's own; None keeps it.
            instruction: overrides the reranker's own; None keeps it.
            cancel: set it from another thread to stop with RerankCancelled.

        Raises:
            InvalidInputError: wrong types, or a blank query.
            TooLongError: a query over the budget, or a document under `overflow="error"`.
            EngineError: scoring failed and `on_error` is "raise".
        """
        texts, todo = self._prepare(query, documents, top_n, instruction, cancel)
        if not texts:
            return Ranking(())
        try:
            self._drive(todo)
        except RerankError as error:
            return self._kept(texts, todo, top_n, error)
        return self._ranking(texts, todo, top_n)

    async def arank(
        self,
        query: str,
        documents: Iterable[str],
        top_n: int | None = None,
        *,
        instruction: str | None = None,
        cancel: threading.Event | None = None,
    ) -> Ranking:
        """`rank` without blocking the event loop; cancelling the task stops the scoring."""
        texts, todo = self._prepare(query, documents, top_n, instruction, cancel)
        if not texts:
            return Ranking(())
        try:
            await self._adrive(todo)
        except RerankError as error:
            return self._kept(texts, todo, top_n, error)
        return self._ranking(texts, todo, top_n)

    def score(
        self, pairs: Iterable[tuple[str, str]], *, instruction: str | None = None
    ) -> list[float]:
        """P(yes) of each (query, document) pair, in [0, 1], in order, in one engine call.

        Errors are always raised: there is no order to keep.
        """
        todo = self._todo(check_pairs(pairs), instruction, None)
        if not todo.pairs:
            return []
        self._drive(todo)
        return [one.score for one in self._best(todo)]

    async def ascore(
        self, pairs: Iterable[tuple[str, str]], *, instruction: str | None = None
    ) -> list[float]:
        """`score` without blocking the event loop."""
        todo = self._todo(check_pairs(pairs), instruction, None)
        if not todo.pairs:
            return []
        await self._adrive(todo)
        return [one.score for one in self._best(todo)]

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()

    async def aclose(self) -> None:
        """Close the engine without blocking the event loop."""
        await self.engine.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _prepare(
        self, query: str, documents: Iterable[str], top_n: int | None,
        instruction: str | None, cancel: threading.Event | None,
    ) -> tuple[list[str], _Scored]:
        checked = check_query(query)
        texts = check_documents(documents)
        check_top_n(top_n)
        return texts, self._todo([(checked, text) for text in texts], instruction, cancel)

    def _todo(
        self, pairs: list[Pair], instruction: str | None, cancel: threading.Event | None
    ) -> _Scored:
        check_instruction(instruction)
        task = instruction_for(instruction or self.settings.instruction or DEFAULT_INSTRUCTION)
        return _Scored(pairs, task, self._show_progress, Call(wish=cancel))

    def _drive(self, todo: _Scored) -> None:
        engine = self.engine

        def answer(question: Any) -> Any:
            if question is None:
                return engine.facts()
            if isinstance(question, Plan):
                with _progress(todo, question):
                    return engine.score(question, todo.call)
            return engine.encode(question)

        drive(self._steps(todo), answer)

    async def _adrive(self, todo: _Scored) -> None:
        engine = self.engine

        async def answer(question: Any) -> Any:
            if question is None:
                return await engine.afacts()
            if isinstance(question, Plan):
                with _progress(todo, question):
                    return await engine.ascore(question, todo.call)
            return await engine.aencode(question)

        try:
            await adrive(self._steps(todo), answer)
        except BaseException:
            todo.call.cancelled.set()
            raise

    def _steps(self, todo: _Scored) -> Steps[Any, Any, None]:
        """One call, as questions: None for the facts, texts to encode, a plan to score."""
        todo.facts = facts = yield None
        settings = self.settings
        bounds = [one for one in (facts.max_length, settings.max_length) if one is not None]
        limits = Limits(
            max_length=min(bounds, default=None),
            counting=facts.counting,
            overflow=settings.overflow,
            window_overlap=settings.window_overlap,
        )
        planning = plan_steps(todo.pairs, todo.instruction, limits)
        if facts.counting == "never":
            todo.plan = drive(planning, estimate)
        else:
            todo.plan = yield from planning
        todo.planned = time.perf_counter()
        todo.call.check()
        todo.scores = check_scores((yield todo.plan), len(todo.plan.passages))

    def _best(self, todo: _Scored) -> list[Score]:
        assert todo.plan is not None
        return best_scores(todo.plan, todo.scores)

    def _ranking(self, texts: Sequence[str], todo: _Scored, top_n: int | None) -> Ranking:
        plan, facts, settings = todo.plan, todo.facts, self.settings
        assert plan is not None and facts is not None
        results = rank(
            plan,
            todo.scores,
            texts,
            top_n=settings.top_n if top_n is None else top_n,
            threshold=settings.score_threshold,
        )
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

    def _kept(
        self, texts: Sequence[str], todo: _Scored, top_n: int | None, error: RerankError
    ) -> Ranking:
        """The input order where the settings ask for it; else `error` goes on."""
        never = InvalidInputError | MissingDependencyError | RerankCancelled
        if self.settings.on_error != "keep_order" or isinstance(error, never):
            raise error
        logger.warning("Reranking failed, the input order is kept: %s", error)
        kept = keep_order(texts, self.settings.top_n if top_n is None else top_n)
        total = time.perf_counter() - todo.started
        return Ranking(
            tuple(kept),
            status="kept_order",
            usage=Usage(len(texts), 0, None),
            timings=Timings(total=total),
            model=todo.facts.model if todo.facts else None,
            error=error,
        )


@contextmanager
def _progress(todo: _Scored, plan: Plan) -> Iterator[None]:
    with progress_bar(len(plan.passages), show=todo.show_progress) as advance:
        todo.call = replace(todo.call, progress=advance)
        yield
