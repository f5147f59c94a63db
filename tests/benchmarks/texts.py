"""Queries and documents: always the same, with scores that differ and an order that is no accident.

The canned server scores by the query's words that a document has, so each document gets a random
part of them among words that say nothing.
"""

from __future__ import annotations

import random

from benchmarks.scale import WORDS

_TOPICS = (
    "river", "town", "bridge", "harbour", "winter", "market", "railway", "garden", "castle",
    "museum", "island", "forest", "valley", "theatre", "station", "mountain",
)  # fmt: skip
_FILLERS = (
    "the", "of", "a", "is", "where", "its", "and", "works", "every", "day", "while", "others",
    "rest", "in", "for", "with", "that", "this", "many", "people", "have", "been", "there", "some",
    "time", "near", "old", "new",
)  # fmt: skip


def query(number: int = 0) -> str:
    """A question with all topics; another number is another question."""
    return f"Question {number}: which {' '.join(_TOPICS)}?"


def documents(count: int, seed: int = 0) -> list[str]:
    """So many documents, no two the same."""
    chance = random.Random(seed)
    texts = []
    for number in range(count):
        words = chance.sample(_TOPICS, chance.randint(0, len(_TOPICS)))
        words += chance.choices(_FILLERS, k=WORDS - len(words))
        chance.shuffle(words)
        texts.append(f"{' '.join(words)} {seed}.{number}")
    return texts
