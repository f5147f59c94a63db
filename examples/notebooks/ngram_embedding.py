"""A text embedding without a model: counts of character n-grams, for notebooks that run offline.

It sees that "raise" and "re-raises" are related, which words alone do not, and knows no synonyms.
The same text has the same vector on every machine.
"""

from __future__ import annotations

import re
from collections import Counter
from zlib import crc32

import numpy as np

DIMENSIONS = 1024
LENGTHS = (3, 4, 5)
# They would make every two English texts alike.
COMMON_WORDS = """
a an and are as at be by do does for from how if in is it of on or that the this to was what when
which why with
"""
COMMON = frozenset(COMMON_WORDS.split())


def embed(text: str) -> list[float]:
    """A vector of length 1; all zeros for a text without a word."""
    vector = np.zeros(DIMENSIONS)
    for gram, count in Counter(_grams(text)).items():
        # Each n-gram has a place and a sign of its own, so that collisions cancel out.
        code = crc32(gram.encode())
        vector[code % DIMENSIONS] += (1 if code & 1 << 31 else -1) * np.log1p(count)
    length = float(np.linalg.norm(vector))
    return [float(value) for value in vector / (length or 1.0)]


def _grams(text: str) -> list[str]:
    """Parts of each word, whose beginning and end count as characters."""
    words = [word for word in re.findall(r"\w+", text.lower()) if word not in COMMON]
    return [
        f"<{word}>"[start : start + length]
        for word in words
        for length in LENGTHS
        for start in range(max(1, len(word) + 3 - length))
    ]
