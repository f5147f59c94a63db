"""Rows for `bulk` and `rerank_dataset`, and engines that fail on some of them. No tests here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from qwen3_ascend_retrievers.core.plan import Plan
from qwen3_ascend_retrievers.core.ranking import Score
from qwen3_ascend_retrievers.engines.base import Call
from qwen3_ascend_retrievers.testing import FakeEngine

ANIMALS = ["cat", "dog", "bird", "fish", "bee", "fox"]
WORDS = [*ANIMALS, "stone", "river", "cloud", "bread", "wheel", "paper"]


def text_of(number: int, words: int = 6) -> str:
    """A text that no other number has, of so many words."""
    picks = [WORDS[(number * 7 + at * at) % len(WORDS)] for at in range(words)]
    return f"{' '.join(picks)} {number}"


def lists(queries: int, documents: int = 4) -> list[dict[str, Any]]:
    """Rows of a query with a list of documents."""
    return [
        {
            "id": number,
            "query": f"{text_of(number, 3)}?",
            "documents": [text_of(number * documents + at) for at in range(documents)],
        }
        for number in range(queries)
    ]


def pairs(queries: int, documents: int = 4) -> list[dict[str, Any]]:
    """The same as one row a pair, sorted by query."""
    return [
        {"id": f"{row['id']}-{at}", "query": row["query"], "document": document}
        for row in lists(queries, documents)
        for at, document in enumerate(row["documents"])
    ]


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """A JSONL file of rows."""
    import json

    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


class HashEngine(FakeEngine):
    """Scores by a hash of query and document: any row that gets another's score is found out.

    Args:
        rounds: how often each text is hashed, for an engine that takes a model's time.
    """

    def __init__(self, rounds: int = 1) -> None:
        super().__init__(keep_calls=0)
        self._rounds = rounds

    def _score(self, mode: str, plan: Plan, call: Call) -> list[Score]:
        return [
            Score(hash_score(plan.queries[passage.query].query, passage.text, self._rounds))
            for passage in plan.passages
        ]


def hash_score(query: str, document: str, rounds: int = 1) -> float:
    """In [0, 1), by the texts alone."""
    digest = f"{query}\n{document}".encode()
    for _ in range(rounds):
        digest = hashlib.sha256(digest).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


class RaisingEngine(HashEngine):
    """Raises an error of its own where a text has the word POISON."""

    def _score(self, mode: str, plan: Plan, call: Call) -> list[Score]:
        if any("POISON" in passage.text for passage in plan.passages):
            raise RuntimeError("a kernel failed")
        return super()._score(mode, plan, call)


def right_scores(rows: Sequence[dict[str, Any]]) -> list[float]:
    """What HashEngine makes of rows that are pairs."""
    return [hash_score(row["query"], row["document"]) for row in rows]
