"""An engine without a model, for users' own tests."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from ..core.plan import Plan
from ..core.prompt import neutralise
from ..core.ranking import Score
from ..core.tokens import Tokens, estimate
from ..engines.base import Call, EngineFacts
from ..engines.configured import Configured
from ..settings import whole_number

_WORDS = re.compile(r"\w+")


class FakeEngine(Configured):
    """Scores by shared words, or by a table; deterministic, no model, no network.

    The score of a pair is the share of the query's distinct words, lower-cased, that the document
    has. `Reranker(FakeEngine())` ranks "a cat" above "a dog" for the query "cat".

    Args:
        scores: document text -> score in [0, 1], for exact control; others score by words.
        error: raised instead of scoring, to test what happens when reranking fails.
        max_length: most tokens of a prompt, counted by an estimate.
        model: the model name that it reports.
        keep_calls: how many of the last calls are recorded, at least 0.

    Attributes:
        calls: for each of the last scoring calls, "sync" or "async" and the documents' texts.
    """

    tag = "fake"

    def __init__(
        self,
        scores: dict[str, float] | None = None,
        *,
        error: Exception | None = None,
        max_length: int | None = None,
        model: str = "fake",
        keep_calls: int = 1000,
    ) -> None:
        self._keep_calls = whole_number("keep_calls", keep_calls, minimum=0)
        self._scores_by_document = dict(scores or {})
        # The engine receives passages with control tokens neutralised.
        self._scores_by_passage = {
            neutralise(text): score for text, score in self._scores_by_document.items()
        }
        self._error = error
        self._facts = EngineFacts(model=model, max_length=max_length, counting="when_needed")
        self.calls: list[tuple[str, tuple[str, ...]]] = []

    def config(self) -> dict[str, Any]:
        """Constructor arguments; `error` is left out."""
        facts, scores = self._facts, self._scores_by_document
        return {
            "scores": scores,
            "max_length": facts.max_length,
            "model": facts.model,
            "keep_calls": self._keep_calls,
        }

    def fingerprint(self) -> str:
        """What a score depends on besides its prompt, for caches."""
        return json.dumps([self.tag, self._scores_by_document, self._facts.model], sort_keys=True)

    def facts(self) -> EngineFacts:
        """The model's name and the maximum that was set."""
        return self._facts

    async def afacts(self) -> EngineFacts:
        """The same."""
        return self._facts

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Estimated tokens."""
        return estimate(texts)

    async def aencode(self, texts: Sequence[str]) -> list[Tokens]:
        """Estimated tokens."""
        return estimate(texts)

    def score(self, plan: Plan, call: Call) -> list[Score]:
        """One score for each passage, recorded in `calls` as "sync"."""
        return self._score("sync", plan, call)

    async def ascore(self, plan: Plan, call: Call) -> list[Score]:
        """The same, recorded as "async"."""
        return self._score("async", plan, call)

    def close(self) -> None:
        """Nothing to release."""

    async def aclose(self) -> None:
        """Nothing to release."""

    def _score(self, mode: str, plan: Plan, call: Call) -> list[Score]:
        if self._keep_calls:
            self.calls.append((mode, tuple([passage.text for passage in plan.passages])))
            del self.calls[: -self._keep_calls]
        if self._error is not None:
            raise self._error
        call.check()
        scores = []
        for passage in plan.passages:
            by_words = _word_overlap(plan.queries[passage.query].query, passage.text)
            scores.append(Score(self._scores_by_passage.get(passage.text, by_words)))
        call.advance(len(scores))
        return scores


def _word_overlap(query: str, document: str) -> float:
    query_words = set(_WORDS.findall(query.lower()))
    return len(query_words & set(_WORDS.findall(document.lower()))) / max(1, len(query_words))
