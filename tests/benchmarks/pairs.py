"""Pairs of queries and documents for the engines of this process: new ones for each round.

An engine may keep what it has computed for a query, so no query comes twice.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from benchmarks.scale import Scale

Pair = tuple[str, str]
PairsOfRound = Callable[[int], list[Pair]]
_WORDS = (
    "capital", "town", "egg", "water", "boil", "gravity", "planet", "law", "river", "the", "of",
    "a", "is", "where", "government", "meets", "and", "works", "every", "day",
)  # fmt: skip
_QUERY_WORDS = 10
SHORT_WORDS = (40, 160)


def one_query(scale: Scale) -> PairsOfRound:
    """One query over short documents."""
    return lambda number: _pairs(number, 1, scale.passages, SHORT_WORDS)


def long_documents(scale: Scale) -> PairsOfRound:
    """One query over long documents."""
    words = (scale.long_words, scale.long_words)
    return lambda number: _pairs(number, 1, scale.long_passages, words)


def many_queries(scale: Scale) -> PairsOfRound:
    """Several queries over as many short documents in all as `one_query` has."""
    of_each = scale.passages // scale.queries
    return lambda number: _pairs(number, scale.queries, of_each, SHORT_WORDS)


def words(chance: random.Random, count: int) -> str:
    """So many words, most of which are one token of Qwen3's."""
    return " ".join(chance.choices(_WORDS, k=count))


def _pairs(number: int, queries: int, documents: int, lengths: tuple[int, int]) -> list[Pair]:
    chance = random.Random(number)
    pairs = []
    for _ in range(queries):
        query = words(chance, _QUERY_WORDS)
        pairs += [(query, words(chance, chance.randint(*lengths))) for _ in range(documents)]
    return pairs
