"""What a remote ranking must be, computed without the engine."""

from __future__ import annotations

import random
from collections.abc import Sequence

from qwen3_ascend_retrievers import DEFAULT_INSTRUCTION, Ranking
from qwen3_ascend_retrievers.core.ranking import sigmoid
from support.rerank_answers import right_logit

QUERY = "What is the capital of China?"
DOCUMENTS = (
    "The capital of China is Beijing.",
    "Gravity is a force.",
    "",
    "北京 🇨🇳 是首都",
    "  leading and trailing  \n\n",
    "بكين هي عاصمة الصين",
    "The capital of China is Beijing. " * 9,
)


def documents_of(number: int, count: int = 20) -> list[str]:
    """Distinct short documents, other ones for each number, out of a pool of a hundred."""
    return [f"document {at}" for at in random.Random(number).sample(range(100), count)]


def check_ranking(
    ranking: Ranking,
    query: str = QUERY,
    documents: Sequence[str] = DOCUMENTS,
    instruction: str = DEFAULT_INSTRUCTION,
) -> None:
    """Assert that it holds every document once, with the right score, in the right order."""
    right = [sigmoid(right_logit(query, text, instruction)) for text in documents]
    order = sorted(range(len(documents)), key=lambda at: (-right[at], at))
    assert ranking.status == "reranked"
    assert [result.index for result in ranking.results] == order
    for result in ranking.results:
        assert result.document == documents[result.index]
        assert result.score is not None
        assert abs(result.score - right[result.index]) < 1e-9
