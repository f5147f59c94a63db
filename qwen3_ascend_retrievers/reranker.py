"""The facade: plan, score, rank. Sync and async share every decision and differ in the waiting."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from ._util.locks import fork_safe_lock
from .call import Outcome, Request, arun, outcome_steps, ranking_steps, run
from .core.prompt import DEFAULT_INSTRUCTION, INSTRUCTIONS, instruction_for, is_name
from .core.results import Ranking
from .core.validation import Pair, check_documents, check_pairs, check_query
from .engines.base import Call, Closing, Engine, checked_engine
from .settings import DEFAULTS, Combine, OnError, Overflow, RerankSettings

logger = logging.getLogger(__name__)

_warning: Final = fork_safe_lock()
_warned: Final[set[str]] = set()


class Reranker(Closing):
    """Ranks documents for a query with any engine. Safe to share between threads and loops.

    Args:
        engine: a LocalEngine, a RemoteEngine, or anything that fulfils `engines.base.Engine`.
        instruction: the task in one sentence (English works best), or the name of a preset in
            `INSTRUCTIONS`; None is web search. A preset's name misspelt is an InvalidInputError.
        top_n: how many documents `rank` returns, at least 1; None returns all.
        score_threshold: leaves out documents that score below it, in [0, 1].
        overflow: a document over the budget is cut ("truncate"), scored in overlapping windows of
            which the best counts ("window"), or refused ("error").
        max_length: tokens of a whole prompt; None takes the engine's maximum.
        window_overlap: most tokens that neighbouring windows share; a window needs twice as many.
        on_error: "raise", or "keep_order" to return the input order, marked, when scoring fails.
        max_documents: only the first so many documents of `rank` are scored, at least 1; the others
            follow in their order, without a score. None scores all.
        combine: None orders by score; "rrf" by the ranks in the input and by score together, with
            reciprocal rank fusion (Cormack, Clarke & Buettcher 2009, c = 60).
        show_progress: a bar on standard error.

    Raises:
        InvalidInputError: a setting of the wrong type or out of range.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        instruction: str | None = DEFAULTS.instruction,
        top_n: int | None = DEFAULTS.top_n,
        score_threshold: float | None = DEFAULTS.score_threshold,
        overflow: Overflow = DEFAULTS.overflow,
        max_length: int | None = DEFAULTS.max_length,
        window_overlap: int = DEFAULTS.window_overlap,
        on_error: OnError = DEFAULTS.on_error,
        max_documents: int | None = DEFAULTS.max_documents,
        combine: Combine | None = DEFAULTS.combine,
        show_progress: bool = False,
    ) -> None:
        checked_engine("engine", engine)
        if instruction is not None:
            _resolved(instruction)
        self.engine = engine
        self.settings = RerankSettings(
            instruction=instruction,
            top_n=top_n,
            score_threshold=score_threshold,
            overflow=overflow,
            max_length=max_length,
            window_overlap=window_overlap,
            on_error=on_error,
            max_documents=max_documents,
            combine=combine,
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
        request = self._request(query, documents, top_n, instruction, cancel)
        if not request.pairs:
            return Ranking(())
        return run(self.engine, request, ranking_steps(request))

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
        request = self._request(query, documents, top_n, instruction, cancel)
        if not request.pairs:
            return Ranking(())
        return await arun(self.engine, request, ranking_steps(request))

    def score(
        self, pairs: Iterable[tuple[str, str]], *, instruction: str | None = None
    ) -> list[float]:
        """P(yes) of each (query, document) pair, in [0, 1], in order, in one engine call.

        Errors are always raised: there is no order to keep. Of a cascade these are scores of
        several models, which cannot be compared: take `rank` there.
        """
        request = self._pairs_request(check_pairs(pairs), instruction)
        if not request.pairs:
            return []
        outcome = run(self.engine, request, outcome_steps(request))
        return [score.score for score in outcome.best_scores()]

    async def ascore(
        self, pairs: Iterable[tuple[str, str]], *, instruction: str | None = None
    ) -> list[float]:
        """`score` without blocking the event loop."""
        request = self._pairs_request(check_pairs(pairs), instruction)
        if not request.pairs:
            return []
        outcome = await arun(self.engine, request, outcome_steps(request))
        return [score.score for score in outcome.best_scores()]

    def outcome(
        self, query: str, documents: Iterable[str], *, instruction: str | None = None
    ) -> Outcome:
        """The plan and the scores that `rank` would order, for tools that show or check them.

        Args:
            query: what is searched for; not blank.
            documents: candidate texts, at least one.
            instruction: overrides the reranker's own; None keeps it.

        Raises:
            RerankError: as `rank`, whatever `on_error` is.
        """
        request = self._request(query, documents, None, instruction, None)
        return run(self.engine, request, outcome_steps(request))

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()

    async def aclose(self) -> None:
        """Close the engine without blocking the event loop."""
        await self.engine.aclose()

    def _request(
        self,
        query: str,
        documents: Iterable[str],
        top_n: int | None,
        instruction: str | None,
        cancel: threading.Event | None,
    ) -> Request:
        checked = check_query(query)
        texts = check_documents(documents)
        scored = texts[: self.settings.max_documents]
        pairs = [(checked, document) for document in scored]
        return self._pairs_request(pairs, instruction, top_n, cancel, texts[len(scored) :])

    def _pairs_request(
        self,
        pairs: list[Pair],
        instruction: str | None,
        top_n: int | None = None,
        cancel: threading.Event | None = None,
        left: Sequence[str] = (),
    ) -> Request:
        settings = self.settings
        if top_n is not None:
            settings = replace(settings, top_n=top_n)
        if instruction is not None:
            settings = replace(settings, instruction=instruction)
        task = _resolved(settings.instruction or DEFAULT_INSTRUCTION)
        return Request(pairs, task, settings, self._show_progress, Call(cancel=cancel), left)


def _resolved(instruction: str) -> str:
    """The task in its final words; one warning for each that is a single word and no preset."""
    task = instruction_for(instruction)
    if instruction == task and is_name(instruction):
        with _warning:
            is_new = instruction not in _warned
            _warned.add(instruction)
        if is_new:
            logger.warning(
                "The instruction %r names no preset and is used as it is. Presets: %s. A task of "
                "your own is best an English sentence.",
                instruction,
                ", ".join(INSTRUCTIONS),
            )
    return task
