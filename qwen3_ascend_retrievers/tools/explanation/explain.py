"""What a reranking did, document by document. Values only; showing them is others' work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Final

from ...call import Outcome
from ...core.prompt import PREFIX, SUFFIX, document_part, neutralise, query_part
from ...core.ranking import RankedDocument, Score, rank
from ...engines.base import Engine, EngineFacts
from ...reranker import Reranker

_PARTS: Final = ("system", "instruction", "query", "document", "answer")
# A bound on the memory that one answer takes, and on what one deadline of a server is for.
_TEXTS_PER_QUESTION: Final = 256
PartTexts = tuple[str, ...]
Counts = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class PromptPart:
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
    parts: tuple[PromptPart, ...]
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
    outcome = reranker.outcome(query, documents, instruction=instruction)
    request, facts = outcome.request, outcome.facts
    ranked = rank(outcome.plan, outcome.scores, request.documents, top_n=None, threshold=None)
    prompts = [_prompt(outcome, result) for result in ranked]
    counts = _counts(reranker.engine, facts, prompts)
    explained = []
    for place, (result, prompt, count) in enumerate(zip(ranked, prompts, counts, strict=True), 1):
        parts = tuple(PromptPart(*part) for part in zip(_PARTS, prompt, count, strict=True))
        texts = {"instruction": request.instruction, "query": query, "document": result.document}
        changed = tuple(name for name, text in texts.items() if neutralise(text) != text)
        explained.append(Explained(place, replace(result, tokens=_total(count)), parts, changed))
    return Explanation(query, request.instruction, facts, tuple(explained))


def _prompt(outcome: Outcome, result: RankedDocument) -> PartTexts:
    """The prompt of the passage that decided, in the five parts."""
    plan = outcome.plan
    at = plan.inputs[result.index][result.window or 0]
    passage, score = plan.passages[at], outcome.scores[at]
    length = score.kept if isinstance(score, Score) else None
    query = plan.queries[passage.query]
    middle = query_part(query.instruction, query.query).removeprefix(PREFIX)
    end = len(f"<Instruct>: {query.instruction}\n")
    document = document_part(passage.text[:length]).removesuffix(SUFFIX)
    return PREFIX, middle[:end], middle[end:], document, SUFFIX


def _counts(engine: Engine, facts: EngineFacts, prompts: Sequence[PartTexts]) -> list[Counts]:
    """Tokens of each prompt's parts; their sum is that of the prompt."""
    if facts.counting == "never":
        return [(None,) * len(_PARTS)] * len(prompts)
    # Differences, because a part that stood alone could have other tokens than in its place.
    halves = [(*accumulate(prompt[:3]), prompt[3] + SUFFIX, SUFFIX) for prompt in prompts]
    texts = list(dict.fromkeys(text for half in halves for text in half))
    lengths: dict[str, int] = {}
    for start in range(0, len(texts), _TEXTS_PER_QUESTION):
        chunk = texts[start : start + _TEXTS_PER_QUESTION]
        encodings = engine.encode(chunk)
        lengths |= {text: len(tokens.ids) for text, tokens in zip(chunk, encodings, strict=True)}
    counts: list[Counts] = []
    for half in halves:
        system, task, question, rest, answer = (lengths[text] for text in half)
        counts.append((system, task - system, question - task, rest - answer, answer))
    return counts


def _total(counts: Counts) -> int | None:
    numbers = [count for count in counts if count is not None]
    return sum(numbers) if numbers else None
