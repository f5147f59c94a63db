"""What a cache holds: the key of a pair, and a score as bytes. Pure.

A key is a hash of everything that a score depends on, so that nothing in a cache ever expires.
"""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

from ...core.plan import Plan
from ...core.prompt import NEUTRALISATION_VERSION, TEMPLATE_VERSION
from ...core.ranking import Score

# Counts up with each change of these bytes or of what a key is made of.
_FORMAT: Final = 1
# Stores that make files of keys, as LangChain's LocalFileStore, take letters, digits and hyphens.
_PREFIX: Final = "qwen3-rerank-"
# Score, logit (NaN for none), code points that were scored (-1 for all); network byte order.
_FIELDS: Final = struct.Struct("!ddq")
_CHECK_BYTES: Final = 8


def keys(fingerprint: str, plan: Plan) -> list[str]:
    """The key of each passage.

    Args:
        fingerprint: of the engine: model, weights, dtype, and whatever else changes a score.
        plan: its passages.
    """
    begin = _hash_of(
        [str(_FORMAT), str(TEMPLATE_VERSION), str(NEUTRALISATION_VERSION), fingerprint]
    )
    queries = []
    for query in plan.queries:
        hashed = begin.copy()
        hashed.update(_delimited(query.instruction) + _delimited(query.part))
        hashed.update(_ids(query.ids))
        queries.append(hashed)
    found = []
    for passage in plan.passages:
        hashed = queries[passage.query].copy()
        hashed.update(_delimited(passage.part))
        hashed.update(_ids(passage.ids))
        found.append(_PREFIX + hashed.hexdigest())
    return found


def entry(key: str, score: Score) -> bytes:
    """A score as bytes, with a check that holds for this key only."""
    logit = math.nan if score.logit is None else score.logit
    packed = _FIELDS.pack(score.score, logit, -1 if score.kept is None else score.kept)
    return packed + _check(key, packed)


def score_of(key: str, value: object) -> Score | None:
    """The score in an entry, marked as cached; None if it is no whole entry of this key."""
    if not isinstance(value, bytes) or len(value) != _FIELDS.size + _CHECK_BYTES:
        return None
    packed, check = value[: _FIELDS.size], value[_FIELDS.size :]
    if check != _check(key, packed):
        return None
    score, logit, kept = _FIELDS.unpack(packed)
    return Score(
        score, None if math.isnan(logit) else logit, None if kept < 0 else kept, cached=True
    )


def _hash_of(texts: Sequence[str]) -> Any:
    hashed = sha256()
    for text in texts:
        hashed.update(_delimited(text))
    return hashed


def _delimited(text: str) -> bytes:
    """The text with its length before it, so that no two lists of texts run into the same bytes."""
    encoded = text.encode("utf-8", "surrogatepass")
    return len(encoded).to_bytes(8, "big") + encoded


def _ids(ids: Sequence[int] | None) -> bytes:
    # Where they were counted, they are what is scored.
    return b"-" if ids is None else b"+" + array("q", ids).tobytes()


def _check(key: str, packed: bytes) -> bytes:
    return sha256(key.encode() + packed).digest()[:_CHECK_BYTES]
