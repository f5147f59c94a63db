"""Query-document pairs whose right order is obvious, for self-checks. Texts only.

The first two are those of vLLM-Ascend's guide for Qwen3-Reranker, which prints their scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class KnownPair:
    """A query, a document that answers it, and one that does not."""

    query: str
    relevant: str
    irrelevant: str


GUIDE: Final = KnownPair(
    "What is the capital of China?",
    "The capital of China is Beijing.",
    "Gravity is a force that attracts two bodies towards each other. It gives weight to physical "
    "objects and is responsible for the movement of planets around the sun.",
)
CHINESE: Final = KnownPair(
    "中国的首都是哪里？",
    "中国的首都是北京。",
    "重力是使两个物体相互吸引的力。它赋予物体重量，并使行星围绕太阳运动。",
)
KNOWN_PAIRS: Final = (GUIDE, CHINESE)
