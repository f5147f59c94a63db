"""The facade: plan, score, rank. Sync and async share every decision and differ in the waiting."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from ._util.locks import Lock
from .call import RankCall, adrive_call, drive_call, kept_order, ranking_of
from .core.prompt import DEFAULT_INSTRUCTION, INSTRUCTIONS, instruction_for, is_name
from .core.results import Ranking
from .core.validation import Pair, check_documents, check_pairs, check_query
from .engines.base import Call, Closing, Engine
from .errors import InvalidInputError, RerankError
from .settings import OnError, Overflow, RerankSettings

logger = logging.getLogger(__name__)

_warning: Final = Lock()
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
        texts, todo = self.prepare(query, documents, top_n, instruction, cancel)
        if not texts:
            return Ranking(())
        try:
            drive_call(self.engine, todo)
        except RerankError as error:
            return kept_order(todo, texts, error)
        return ranking_of(todo, texts)

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
        texts, todo = self.prepare(query, documents, top_n, instruction, cancel)
        if not texts:
            return Ranking(())
        try:
            await adrive_call(self.engine, todo)
        except RerankError as error:
            return kept_order(todo, texts, error)
        return ranking_of(todo, texts)

    def score(
        self, pairs: Iterable[tuple[str, str]], *, instruction: str | None = None
    ) -> list[float]:
        """P(yes) of each (query, document) pair, in [0, 1], in order, in one engine call.

        Errors are always raised: there is no order to keep.
        """
        todo = self._call(check_pairs(pairs), instruction)
        if not todo.pairs:
            return []
        drive_call(self.engine, todo)
        return [one.score for one in todo.best_scores()]

    async def ascore(
        self, pairs: Iterable[tuple[str, str]], *, instruction: str | None = None
    ) -> list[float]:
        """`score` without blocking the event loop."""
        todo = self._call(check_pairs(pairs), instruction)
        if not todo.pairs:
            return []
        await adrive_call(self.engine, todo)
        return [one.score for one in todo.best_scores()]

    def prepare(
        self,
        query: str,
        documents: Iterable[str],
        top_n: int | None = None,
        instruction: str | None = None,
        cancel: threading.Event | None = None,
    ) -> tuple[list[str], RankCall]:
        """The checked texts and the call that `rank` drives, for who needs its plan and scores.

        Raises:
            InvalidInputError: wrong types, or a blank query.
        """
        checked = check_query(query)
        texts = check_documents(documents)
        pairs = [(checked, text) for text in texts]
        return texts, self._call(pairs, instruction, top_n, cancel)

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()

    async def aclose(self) -> None:
        """Close the engine without blocking the event loop."""
        await self.engine.aclose()

    def _call(
        self,
        pairs: list[Pair],
        instruction: str | None,
        top_n: int | None = None,
        cancel: threading.Event | None = None,
    ) -> RankCall:
        settings = self.settings
        if top_n is not None:
            settings = replace(settings, top_n=top_n)
        if instruction is not None:
            settings = replace(settings, instruction=instruction)
        task = _resolved(settings.instruction or DEFAULT_INSTRUCTION)
        return RankCall(pairs, task, settings, self._show_progress, Call(wish=cancel))


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
