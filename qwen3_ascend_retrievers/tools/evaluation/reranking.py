"""Reranking a run query by query, with a journal, so that a stop loses at most one query."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...core.ranking import Stage
from ...engines.configured import Configured, scoring_config
from ...errors import EngineError, InvalidInputError
from ...models.fingerprint import stamps_of_models
from ...reranker import Reranker
from .journal import Journal, ScoredDocuments, fingerprint
from .runs import Run

EvaluationProgress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Task:
    """A run to be reranked, with its texts.

    Attributes:
        run: the first stage's documents of each query, cut to the depth that is reranked.
        queries: query texts by id.
        corpus: document texts by id.
    """

    run: Run
    queries: Mapping[str, str]
    corpus: Mapping[str, str]

    def __post_init__(self) -> None:
        missing_ids = sorted(self.run.keys() - self.queries.keys())
        if missing_ids:
            raise InvalidInputError(
                f"The queries lack {len(missing_ids)} of the run's, such as {missing_ids[0]}. "
                "Do queries and run belong together?"
            )

    def fingerprint(self, reranker: Reranker) -> str:
        """The fingerprint of this task with this reranker: texts, order, model and settings."""
        return fingerprint({"texts": self._digest(), **_score_settings(reranker)})

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for query, documents in self.run.items():
            for text in (query, self.queries[query]):
                digest.update(fingerprint(text).encode())
            for name, _ in documents:
                digest.update(fingerprint([name, self.corpus[name]]).encode())
        return digest.hexdigest()


def rerank_run(
    task: Task, reranker: Reranker, journal: Journal, progress: EvaluationProgress
) -> Run:
    """The reranked run; queries that the journal has are not scored again.

    Args:
        task: what is to be reranked.
        reranker: must return all documents, without a threshold.
        journal: stores each query as soon as it is finished.
        progress: called with 1 for each finished query, those of the journal included.

    Raises:
        EngineError: scoring failed; the journal holds what was finished.
    """
    reranked: Run = {}
    for query in task.run:
        if query not in journal.finished:
            journal.add(query, _rerank(task, reranker, query))
        reranked[query] = journal.finished[query]
        progress(1)
    return reranked


def _rerank(task: Task, reranker: Reranker, query: str) -> ScoredDocuments:
    names = [name for name, _ in task.run[query]]
    ranking = reranker.rank(task.queries[query], [task.corpus[name] for name in names])
    scored: ScoredDocuments = []
    for result in ranking.results:
        if result.score is None:
            raise EngineError(
                f"The document {names[result.index]} of query {query} could not be scored, and a "
                "run cannot say so. Change its text, or take it out of the run."
            ) from result.error
        scored.append((names[result.index], _run_score(result.score, result.stage)))
    return scored


def _run_score(score: float, stage: Stage | None) -> float:
    """A score by which a run has the ranking's order: later stages are above earlier ones."""
    return score if stage is None else (stage.number - 1 + score) / stage.of


def _score_settings(reranker: Reranker) -> dict[str, Any]:
    """What the scores depend on besides the texts. Loads the model, or asks its server."""
    engine, settings = reranker.engine, reranker.settings
    facts = engine.facts()
    config = scoring_config(engine) if isinstance(engine, Configured) else {}
    return {
        "engine": config or repr(type(engine)),
        "model": facts.model,
        "weights": stamps_of_models(config or {"model": facts.model}),
        "max_length": [facts.max_length, settings.max_length],
        "instruction": settings.instruction,
        "overflow": [settings.overflow, settings.window_overlap],
    }
