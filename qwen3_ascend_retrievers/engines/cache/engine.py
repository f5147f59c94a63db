"""CachedEngine: no pair is scored twice."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..._util.tracing import span
from ...core.plan import Plan
from ...core.ranking import PassageScore, Score, check_scores
from ...core.steps import Steps, adrive, drive
from ...core.tokens import Encoding
from ...errors import InvalidInputError
from ..base import Call, Engine, EngineFacts, checked_engine
from ..configured import Configured, engine_to_config, scoring_config, unwritten_of
from ..registry import engine_from_config
from .entries import entry, keys, score_of
from .flights import Flight, Flights, OwnFlights, await_landed, land, wait_landed
from .stores import ByteStore, DiskStore, MemoryStore, entries_of, store_entries, store_from

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _NeedEntries:
    """What does the store hold of these keys?"""

    keys: list[str]


@dataclass(frozen=True, slots=True)
class _NeedScores:
    """What does the engine score in this plan?"""

    plan: Plan


@dataclass(frozen=True, slots=True)
class _NeedStored:
    """Store these entries."""

    entries: list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class _NeedLanded:
    """What have others scored these pairs? None where they failed or are not waited for."""

    flights: list[Flight]


_Question = _NeedEntries | _NeedScores | _NeedStored | _NeedLanded


class CachedEngine(Configured):
    """Scores pairs that it has not scored before with another engine, and keeps their scores.

    A score is found again under a hash of everything that it depends on: the engine with its model,
    weights, dtype and settings, the versions of template and neutralisation, the instruction, the
    query's part of the prompt, and the document's part as it is scored, cut or in windows. Callers
    who ask for the same pairs at the same time wait for one scoring. A damaged entry is scored
    again; a store that fails is passed over with a warning. `Ranking.usage.cache_hits` counts what
    was found.

    Args:
        engine: scores what is not found; closed with this one. For a cascade cache its stages.
        store: True for one in memory, a folder for one on disk, or a store of your own: LangChain's
            `ByteStore` or LlamaIndex's `BaseKVStore`.
        cache_namespace: stands for what the engine cannot know of its model, such as a server's
            revision: change it when the server's model changes. Needed for RemoteEngine and
            engines of your own.

    Raises:
        InvalidInputError: no engine, no store, or an engine that needs `cache_namespace`.
        MissingDependencyError: a folder, and diskcache is not installed.
    """

    tag = "cached"

    def __init__(
        self, engine: Engine, store: Any = True, *, cache_namespace: str | None = None
    ) -> None:
        _check_engine(engine, cache_namespace)
        self._engine = engine
        self._store: ByteStore = store_from(store)
        self._namespace = cache_namespace
        self._flights = Flights()
        self._fingerprint: str | None = None
        self._store_failed = False

    @classmethod
    def from_config(cls, **arguments: Any) -> CachedEngine:
        """The engine that `config` wrote down."""
        return cls(engine_from_config(arguments.pop("inner")), **arguments)

    @property
    def engine(self) -> Engine:
        """The engine that scores what is not found."""
        return self._engine

    def config(self) -> dict[str, Any]:
        """Arguments of `from_config`.

        Raises:
            InvalidInputError: the engine, or the store, is of a foreign class.
        """
        written = getattr(self._store, "written", None)
        if not callable(written):
            raise InvalidInputError(
                f"A store of the foreign class {type(self._store).__name__} cannot be written "
                "down. Make the CachedEngine again after loading."
            )
        return {
            "inner": engine_to_config(self._engine),
            "store": written(),
            "cache_namespace": self._namespace,
        }

    def unwritten(self) -> list[str]:
        """What the engine's config leaves out."""
        return unwritten_of([self._engine])

    def __repr__(self) -> str:
        return f"CachedEngine({self._engine!r}, {type(self._store).__name__})"

    def facts(self) -> EngineFacts:
        """The engine's own."""
        return self._engine.facts()

    async def afacts(self) -> EngineFacts:
        """The same without blocking the event loop."""
        return await self._engine.afacts()

    def encode(self, texts: Sequence[str]) -> Sequence[Encoding]:
        """The engine's tokens."""
        return self._engine.encode(texts)

    async def aencode(self, texts: Sequence[str]) -> Sequence[Encoding]:
        """The same without blocking the event loop."""
        return await self._engine.aencode(texts)

    def score(self, plan: Plan, call: Call) -> list[PassageScore]:
        """One score for each passage; the engine's own errors leave the cache as it was."""
        facts = self._engine.facts()

        def answer(question: _Question) -> Any:
            if isinstance(question, _NeedScores):
                return self._engine.score(question.plan, call)
            if isinstance(question, _NeedLanded):
                return wait_landed(question.flights, call)
            try:
                if isinstance(question, _NeedEntries):
                    return self._store.mget(question.keys)
                return self._store.mset(question.entries)
            # A store may be anybody's.
            except Exception as error:
                return self._no_entries(question, error)

        return drive(self._steps(plan, call, self._fingerprint_of(facts)), answer)

    async def ascore(self, plan: Plan, call: Call) -> list[PassageScore]:
        """The same without blocking the event loop."""
        facts = await self._engine.afacts()
        fingerprint = await asyncio.to_thread(self._fingerprint_of, facts)

        async def answer(question: _Question) -> Any:
            if isinstance(question, _NeedScores):
                return await self._engine.ascore(question.plan, call)
            if isinstance(question, _NeedLanded):
                return await await_landed(question.flights, call)
            try:
                if isinstance(question, _NeedEntries):
                    return await entries_of(self._store, question.keys)
                return await store_entries(self._store, question.entries)
            except Exception as error:
                return self._no_entries(question, error)

        return await adrive(self._steps(plan, call, fingerprint), answer)

    def close(self) -> None:
        """Close the engine, and the store's files if it was made here."""
        try:
            self._engine.close()
        finally:
            self.close_store()

    def close_store(self) -> None:
        """Close the files of a store that was made here; a later use opens them again."""
        if isinstance(self._store, MemoryStore | DiskStore):
            self._store.close()

    def _fingerprint_of(self, facts: EngineFacts) -> str:
        """Everything that a score depends on besides the prompt, as text."""
        if self._fingerprint is None:
            known: Any = _own_fingerprint(self._engine)
            if known is None:
                known = [facts.model, _identity(self._engine)]
            self._fingerprint = json.dumps([known, self._namespace], sort_keys=True)
        return self._fingerprint

    def _steps(
        self, plan: Plan, call: Call, fingerprint: str
    ) -> Steps[_Question, Any, list[PassageScore]]:
        names = keys(fingerprint, plan)
        with span("rerank.cache", {"rerank.passages": len(names)}) as current:
            found: dict[str, PassageScore] = yield from self._stored(names)
            hits = sum(name in found for name in names)
            current.set_attribute("rerank.cache.hits", hits)
            current.set_attribute("rerank.cache.misses", len(names) - hits)
            logger.debug("cache: %d hits, %d misses", hits, len(names) - hits)
            call.advance(hits)
            positions = {name: at for at, name in enumerate(names)}
            missing = [name for name in positions if name not in found]
            if missing:
                found |= yield from self._scored(missing, positions, plan, call)
        return [found[name] for name in names]

    def _stored(self, names: list[str]) -> Steps[_Question, Any, dict[str, PassageScore]]:
        values = yield _NeedEntries(names)
        if not isinstance(values, list | tuple) or len(values) != len(names):
            values = [None] * len(names)
        scores = {name: score_of(name, value) for name, value in zip(names, values, strict=True)}
        return {name: score for name, score in scores.items() if score is not None}

    def _scored(
        self, missing: list[str], positions: Mapping[str, int], plan: Plan, call: Call
    ) -> Steps[_Question, Any, dict[str, PassageScore]]:
        """Scores of what nobody else scores at this time, and then of the rest."""
        call.check()
        own = OwnFlights()
        try:
            others = self._flights.claim(missing, own)
            found = yield from self._scored_here([*own], positions, plan, own)
        finally:
            self._flights.forget(own)
        landed = yield _NeedLanded([*others.values()])
        for name, score in zip(others, landed, strict=True):
            if score is not None:
                found[name] = replace(score, cached=True)
                call.advance(1)
        # Whoever scored the rest has failed or may not be waited for. Taking turns now would let
        # each caller wait for the failures of all before it.
        rest = [name for name in others if name not in found]
        return found | (yield from self._scored_here(rest, positions, plan, {}))

    def _scored_here(
        self,
        names: list[str],
        positions: Mapping[str, int],
        plan: Plan,
        flights: Mapping[str, Flight],
    ) -> Steps[_Question, Any, dict[str, PassageScore]]:
        """What the engine scores of these, landed with the flights and stored."""
        if not names:
            return {}
        part = plan.part([positions[name] for name in names])
        found = check_scores((yield _NeedScores(part)), len(names))
        by_name = dict(zip(names, found, strict=True))
        scores = {name: score for name, score in by_name.items() if isinstance(score, Score)}
        # Before they are stored: who waits needs no store for it, which may be slow.
        land(flights, scores)
        yield _NeedStored([(name, entry(name, score)) for name, score in scores.items()])
        return by_name

    def _no_entries(self, question: _Question, error: Exception) -> Any:
        """The answer of a store that failed: nothing; a warning the first time."""
        if not self._store_failed:
            self._store_failed = True
            logger.warning(
                "The cache %s failed, and pairs are scored without it: %s: %s",
                type(self._store).__name__,
                type(error).__name__,
                error,
            )
        return [None] * len(question.keys) if isinstance(question, _NeedEntries) else None


def with_cache(engine: Engine, store: Any, cache_namespace: str | None = None) -> Engine:
    """The engine with a cache around it, or a cascade with one around each stage that has none.

    Args: as of CachedEngine.
    """
    shared = store_from(store)
    with_stages = getattr(engine, "with_stages", None)
    if with_stages is None:
        return CachedEngine(engine, shared, cache_namespace=cache_namespace)

    def cached_stage(stage: Engine) -> Engine:
        if isinstance(stage, CachedEngine):
            return stage
        return CachedEngine(stage, shared, cache_namespace=cache_namespace)

    cascade: Engine = with_stages(cached_stage)
    return cascade


def _own_fingerprint(engine: Engine) -> str | None:
    """What the engine says of itself; None where it has no such method.

    Raises:
        InvalidInputError: it says something else than a text.
    """
    if not hasattr(engine, "fingerprint"):
        return None
    fingerprint = engine.fingerprint() if callable(engine.fingerprint) else engine.fingerprint
    if not isinstance(fingerprint, str) or not fingerprint:
        raise InvalidInputError(
            f"{type(engine).__name__}.fingerprint() must return a non-empty str that changes "
            f"whenever a score may, not {fingerprint!r}. Without such a method a cache needs "
            "cache_namespace='...'."
        )
    return fingerprint


def _identity(engine: Engine) -> Any:
    """What tells engines apart that do not know their weights: kind, servers and settings."""
    if isinstance(engine, Configured):
        return scoring_config(engine)
    return f"{type(engine).__module__}.{type(engine).__qualname__}"


def _check_engine(engine: Any, cache_namespace: Any) -> None:
    checked_engine("engine", engine)
    if isinstance(engine, CachedEngine):
        raise InvalidInputError("This engine has a cache already. Leave out the second one.")
    if hasattr(engine, "with_stages"):
        raise InvalidInputError(
            "A cascade's score of a pair depends on the other documents, so it cannot be cached. "
            "Cache its stages: CascadeEngine([CachedEngine(...), CachedEngine(...)])."
        )
    if cache_namespace is None:
        if getattr(engine, "fingerprint", None) is None:
            raise InvalidInputError(
                f"{type(engine).__name__} does not know which weights it scores with, and a cache "
                "must not mix two models' scores. Pass cache_namespace='...', a name that you "
                "change whenever the model changes."
            )
    elif not isinstance(cache_namespace, str) or not cache_namespace.strip():
        raise InvalidInputError(
            f"cache_namespace must be a non-empty str or None, not {cache_namespace!r}."
        )
