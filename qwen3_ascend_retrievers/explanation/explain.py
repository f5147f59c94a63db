"""What a reranking did, document by document. Values only; showing them is others' work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..core.inputs import check_documents, check_query
from ..core.plan import Limits, Passage, Plan, Query
from ..core.planning import plan_steps
from ..core.prompt import (
    DEFAULT_INSTRUCTION,
    PREFIX,
    SUFFIX,
    document_part,
    instruction_for,
    neutralise,
    query_part,
)
from ..core.ranking import RankedDocument, check_scores, rank
from ..core.steps import drive
from ..core.tokens import estimate
from ..engines.base import Call, Engine, EngineFacts
from ..reranker import Reranker


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a prompt.

    Attributes:
        name: "system", "instruction", "query", "document" or "answer".
        text: exactly as the model reads it, control tokens and line ends included.
        tokens: how many; None where nobody counted.
    """

    name: str
    text: str
    tokens: int | None


@dataclass(frozen=True, slots=True)
class Explained:
    """One document's part in a ranking.

    Attributes:
        place: its rank, from 1.
        result: its scores, tokens, cut and span.
        parts: the prompt of the passage that decided, whole and in order.
        neutralised: which of "instruction", "query" and "document" had control tokens in them.
    """

    place: int
    result: RankedDocument
    parts: tuple[Part, ...]
    neutralised: tuple[str, ...]

    @property
    def prompt(self) -> str:
        """The whole prompt."""
        return "".join(part.text for part in self.parts)


@dataclass(frozen=True, slots=True)
class Explanation:
    """A ranking with its reasons, best document first.

    Attributes:
        query: as it was given.
        instruction: the task, a preset's name resolved.
        facts: what the engine knows of its model.
        documents: all of them, by score.
    """

    query: str
    instruction: str
    facts: EngineFacts
    documents: tuple[Explained, ...]


def explain(
    reranker: Reranker, query: str, documents: Sequence[str], instruction: str | None = None
) -> Explanation:
    """Rank `documents` as `reranker.rank` does, and keep what it looked at.

    Args:
        reranker: its engine scores; its top_n and threshold are not applied.
        query: what is searched for.
        documents: candidate texts.
        instruction: overrides the reranker's own; None keeps it.

    Raises: as `Reranker.rank`.
    """
    check_query(query)
    texts = check_documents(documents)
    task = instruction_for(instruction or reranker.settings.instruction or DEFAULT_INSTRUCTION)
    engine, facts = reranker.engine, reranker.engine.facts()
    plan = _plan(reranker, facts, [(query, text) for text in texts], task)
    scores = check_scores(engine.score(plan, Call()), len(plan.passages))
    ranked = rank(plan, scores, texts, top_n=None, threshold=None)
    asked = {"instruction": task, "query": query}
    made = []
    for place, result in enumerate(ranked, 1):
        passage = plan.passages[plan.inputs[result.index][result.window or 0]]
        parts = _parts(engine, facts, plan.queries[passage.query], passage)
        found = asked | {"document": result.document}
        changed = tuple(name for name, text in found.items() if neutralise(text) != text)
        made.append(Explained(place, result, parts, changed))
    return Explanation(query, task, facts, tuple(made))


def _plan(reranker: Reranker, facts: EngineFacts, pairs: list[Any], task: str) -> Plan:
    settings = reranker.settings
    bounds = [one for one in (facts.max_length, settings.max_length) if one is not None]
    limits = Limits(
        max_length=min(bounds, default=None),
        counting=facts.counting,
        overflow=settings.overflow,
        window_overlap=settings.window_overlap,
    )
    answer = estimate if facts.counting == "never" else reranker.engine.encode
    return drive(plan_steps(pairs, task, limits), answer)


def _parts(engine: Engine, facts: EngineFacts, query: Query, passage: Passage) -> tuple[Part, ...]:
    """The prompt in five parts, each with its tokens where the engine counts exactly."""
    first, second = query_part(query.instruction, query.query), document_part(passage.text)
    middle = first.removeprefix(PREFIX)
    at = len(f"<Instruct>: {query.instruction}\n")
    texts = (PREFIX, middle[:at], middle[at:], second.removesuffix(SUFFIX), SUFFIX)
    names = ("system", "instruction", "query", "document", "answer")
    counts: tuple[int | None, ...] = (None,) * 5
    if facts.counting == "always":
        heads = (PREFIX, PREFIX + texts[1], first, second, SUFFIX)
        system, told, asked, rest, answer = (len(one.ids) for one in engine.encode(heads))
        counts = (system, told - system, asked - told, rest - answer, answer)
    return tuple(Part(*one) for one in zip(names, texts, counts, strict=True))
