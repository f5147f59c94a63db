"""A query with its documents, ranked so that one bad text costs no other its score."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from ...core.prompt import check_text
from ...core.ranking import RankedDocument
from ...core.results import Ranking
from ...core.validation import check_list, check_query
from ...engines.base import Engine
from ...errors import (
    EngineClosedError,
    InvalidInputError,
    MissingDependencyError,
    ModelError,
    RemoteError,
    RerankError,
    TooLongError,
    printable,
)
from ...reranker import Reranker
from ...settings import RerankSettings

logger = logging.getLogger(__name__)

# Groups of one batch that are asked about at once: an engine that packs or queues gets work, and a
# server no more requests than a client may send by default.
GROUPS_AT_ONCE: Final = 16
# How often a dead engine is made anew for the same group before its error counts.
_NEW_ENGINES: Final = 2
_CHARACTERS: Final = 500
_DOCUMENT_NUMBER: Final = re.compile(r"documents\[\d+\]")
# What no other choice of texts would mend. RemoteEngine finds texts that a server refuses itself.
_OF_THE_ENGINE: Final = (RemoteError, EngineClosedError, ModelError, MissingDependencyError)


@dataclass(frozen=True, slots=True)
class QueryGroup:
    """A query and its documents, of any type: what is wrong with them becomes an error."""

    query: Any
    documents: Any


@dataclass(frozen=True, slots=True)
class GroupRanking:
    """What became of a group.

    Attributes:
        results: the documents that the settings keep, best first; without those in `errors`.
        errors: what was wrong with a document, by its position.
        error: what was wrong with the whole group; "" if nothing.
        cut: documents of which a part was scored nowhere.
        cache_hits: scores that came from a cache.
        engine_failure: the whole group's error, if it was the engine's and not a text's.
    """

    results: tuple[RankedDocument, ...] = ()
    errors: dict[int, str] = field(default_factory=dict)
    error: str = ""
    cut: int = 0
    cache_hits: int = 0
    engine_failure: RerankError | None = None


def error_text(error: BaseException) -> str:
    """An error for a row: its type and what it says, in one line."""
    # The number is one among the documents that were scored together, which nobody sees.
    return _DOCUMENT_NUMBER.sub(
        "The document", printable(f"{type(error).__name__}: {error}", _CHARACTERS)
    )


class GroupScorer:
    """Ranks groups with one engine, which is made anew if it dies.

    Args:
        make_engine: makes the engine; called again after an EngineClosedError.
        settings: of the reranker; `on_error` is not heeded, errors become a row's.
    """

    def __init__(self, make_engine: Callable[[], Engine], settings: RerankSettings) -> None:
        self._make_engine = make_engine
        self._settings = settings
        self._reranker = self._new_reranker()
        self._alone = asyncio.Lock()

    @property
    def engine(self) -> Engine:
        """The engine that scores now."""
        return self._reranker.engine

    async def start(self) -> None:
        """Load the model, or ask the server.

        Raises:
            RerankError: it cannot be loaded, or not be reached.
        """
        await self.engine.afacts()

    async def rank(self, groups: Sequence[QueryGroup]) -> list[GroupRanking]:
        """One ranking for each group, in their order."""
        turns = asyncio.Semaphore(GROUPS_AT_ONCE)

        async def ranked(group: QueryGroup) -> GroupRanking:
            async with turns:
                return await self._ranked(group)

        return await asyncio.gather(*map(ranked, groups))

    async def aclose(self) -> None:
        """Close the engine."""
        await self._reranker.aclose()

    def _new_reranker(self) -> Reranker:
        # All documents, so that what was cut is counted; top_n is for the results.
        settings = replace(self._settings, top_n=None, on_error="raise")
        return Reranker(self._make_engine(), **asdict(settings))

    async def _ranked(self, group: QueryGroup) -> GroupRanking:
        try:
            query = check_query(group.query)
            documents = check_list("documents", group.documents, "str")
        except InvalidInputError as error:
            return GroupRanking(error=error_text(error))
        errors = _wrong_types(documents)
        while True:
            positions = [at for at in range(len(documents)) if at not in errors]
            outcome = await self._outcome(query, [documents[at] for at in positions])
            if isinstance(outcome, Ranking):
                return self._group_ranking(outcome, positions, errors)
            if isinstance(outcome, _OF_THE_ENGINE):
                return GroupRanking(error=error_text(outcome), engine_failure=outcome)
            culprits = await self._culprits(query, documents, positions, outcome)
            if not culprits:
                return GroupRanking(error=error_text(outcome))
            errors |= culprits

    async def _outcome(self, query: str, documents: list[str]) -> Ranking | Exception:
        """The ranking, or the error instead of it."""
        for attempt in range(_NEW_ENGINES + 1):
            # Of those that were under way when it died, one may be why, and must not do it again
            # to the others.
            async with self._alone if attempt else nullcontext():
                reranker = self._reranker
                try:
                    return await reranker.arank(query, documents)
                except EngineClosedError as error:
                    if attempt == _NEW_ENGINES:
                        return error
                    await self._replace(reranker, error)
                # An engine of somebody else's may raise anything; one row must not cost the job.
                except Exception as error:
                    return error
        raise AssertionError("unreachable")

    async def _replace(self, dead: Reranker, error: EngineClosedError) -> None:
        # Groups that were under way together find the same engine dead.
        if self._reranker is dead:
            logger.warning("The engine is made anew: %s", error)
            self._reranker = self._new_reranker()
            await dead.aclose()

    async def _culprits(
        self, query: str, documents: Sequence[str], positions: list[int], error: Exception
    ) -> dict[int, Exception]:
        """The documents that fail alone, found by halves; none if it is the query, or all."""
        if isinstance(error, TooLongError):
            return {} if error.index is None else {positions[error.index]: error}
        if len(positions) == 1:
            return {positions[0]: error}
        middle = len(positions) // 2
        failing: dict[int, Exception] = {}
        for half in (positions[:middle], positions[middle:]):
            outcome = await self._outcome(query, [documents[at] for at in half])
            if isinstance(outcome, Exception):
                failing |= await self._culprits(query, documents, half, outcome)
        return failing if len(failing) < len(documents) else {}

    def _group_ranking(
        self, ranking: Ranking, positions: Sequence[int], errors: Mapping[int, Exception]
    ) -> GroupRanking:
        texts = {position: error_text(error) for position, error in errors.items()}
        results = []
        for result in ranking.results:
            position = positions[result.index]
            if result.error is None:
                results.append(replace(result, index=position))
            else:
                texts[position] = error_text(result.error)
        return GroupRanking(
            tuple(results[: self._settings.top_n]),
            texts,
            cut=sum(result.truncated for result in results),
            cache_hits=ranking.usage.cache_hits,
        )


def _wrong_types(documents: Sequence[Any]) -> dict[int, Exception]:
    errors: dict[int, Exception] = {}
    for position, document in enumerate(documents):
        try:
            check_text("The document", document)
        except InvalidInputError as error:
            errors[position] = error
    return errors
