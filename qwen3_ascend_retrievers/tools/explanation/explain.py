"""What a reranking did, document by document. Values only; showing them is others' work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Final

from ...call import RankCall, drive_call
from ...core.prompt import PREFIX, SUFFIX, document_part, neutralise, query_part
from ...core.ranking import RankedDocument, Score, rank
from ...engines.base import Engine, EngineFacts
from ...reranker import Reranker

_PARTS: Final = ("system", "instruction", "query", "document", "answer")
# A bound on the memory that one answer takes, and on what one deadline of a server is for.
_TEXTS_AT_ONCE: Final = 256
Texts = tuple[str, ...]
Counts = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a prompt.

    Attributes:
        name: "system", "instruction", "query", "document" or "answer".
        text: exactly as the model reads it, control tokens and line ends included.
        tokens: how many; None where nobody can count.
    """

    name: str
    text: str
    tokens: int | None


@dataclass(frozen=True, slots=True)
class Explained:
    """One document's part in a ranking.

    Attributes:
        place: its rank, from 1.
        result: its scores, cut and span; its tokens are the sum of the parts'.
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

    Raises: as `Reranker.rank` with `on_error="raise"`.
    """
    texts, todo = reranker.prepare(query, documents, instruction=instruction)
    drive_call(reranker.engine, todo)
    plan, facts = todo.plan, todo.facts
    assert plan is not None
    assert facts is not None
    ranked = rank(plan, todo.scores, texts, top_n=None, threshold=None)
    prompts = [_prompt(todo, result) for result in ranked]
    counts = _counts(reranker.engine, facts, prompts)
    asked = {"instruction": todo.instruction, "query": query}
    made = []
    for place, (result, prompt, count) in enumerate(zip(ranked, prompts, counts, strict=True), 1):
        parts = tuple(Part(*one) for one in zip(_PARTS, prompt, count, strict=True))
        found = asked | {"document": result.document}
        changed = tuple(name for name, text in found.items() if neutralise(text) != text)
        made.append(Explained(place, replace(result, tokens=_total(count)), parts, changed))
    return Explanation(query, todo.instruction, facts, tuple(made))


def _prompt(todo: RankCall, result: RankedDocument) -> Texts:
    """The prompt of the passage that decided, in the five parts."""
    assert todo.plan is not None
    at = todo.plan.inputs[result.index][result.window or 0]
    passage, score = todo.plan.passages[at], todo.scores[at]
    kept = score.kept if isinstance(score, Score) else None
    query = todo.plan.queries[passage.query]
    middle = query_part(query.instruction, query.query).removeprefix(PREFIX)
    end = len(f"<Instruct>: {query.instruction}\n")
    document = document_part(passage.text[:kept]).removesuffix(SUFFIX)
    return PREFIX, middle[:end], middle[end:], document, SUFFIX


def _counts(engine: Engine, facts: EngineFacts, prompts: Sequence[Texts]) -> list[Counts]:
    """Tokens of each prompt's parts; their sum is that of the prompt."""
    if facts.counting == "never":
        return [(None,) * len(_PARTS)] * len(prompts)
    # Differences, because a part that stood alone could have other tokens than in its place.
    halves = [(*accumulate(one[:3]), one[3] + SUFFIX, SUFFIX) for one in prompts]
    wanted = list(dict.fromkeys(text for one in halves for text in one))
    known: dict[str, int] = {}
    for start in range(0, len(wanted), _TEXTS_AT_ONCE):
        some = wanted[start : start + _TEXTS_AT_ONCE]
        known |= {text: len(one.ids) for text, one in zip(some, engine.encode(some), strict=True)}
    made: list[Counts] = []
    for one in halves:
        system, told, asked, rest, answer = (known[text] for text in one)
        made.append((system, told - system, asked - told, rest - answer, answer))
    return made


def _total(counts: Counts) -> int | None:
    known = [one for one in counts if one is not None]
    return sum(known) if known else None
