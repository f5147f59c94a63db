"""LocalEngine's scores with the bundled model, which every server of it must give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import httpx
import pytest

from qwen3_ascend_retrievers import LocalEngine, Reranker
from qwen3_ascend_retrievers.core.prompt import prompt
from qwen3_ascend_retrievers.engines.base import Engine
from qwen3_ascend_retrievers.engines.remote.protocol.dialects.base import Dialect
from qwen3_ascend_retrievers.engines.remote.protocol.rerank_api import read_rerank
from support.adapter_checks import Scores, scores_by
from support.remote_rankings import QUERY

# The servers compute in float32 too: they differ by some 1e-6.
TOLERANCE = 1e-4
CUSTOM = "Given a question about food, retrieve recipes that answer it"


@cache
def local_scores(documents: tuple[str, ...], instruction: str | None = None) -> tuple[float, ...]:
    """The scores of the documents for QUERY, in float32."""
    with Reranker(LocalEngine("tiny", "cpu", "float32"), instruction=instruction) as reranker:
        return tuple(reranker.score([(QUERY, document) for document in documents]))


def local_counts(texts: Sequence[str]) -> list[int]:
    """The tokens of each text alone."""
    with LocalEngine("tiny", "cpu", "float32") as engine:
        return [len(encoding.ids) for encoding in engine.encode(texts)]


def prompt_count(documents: Sequence[str]) -> int:
    """The tokens of the documents' prompts, all together."""
    return sum(local_counts([prompt(QUERY, document) for document in documents]))


def counted_by(url: str, dialect: Dialect, model: str, key: str, documents: Sequence[str]) -> int:
    """What a server counts for bare texts, as the client reads its reply."""
    reply = httpx.post(
        url + "/v1/rerank",
        json=dialect.rerank_body(model, QUERY, documents),
        headers={"Authorization": f"Bearer {key}"},
        timeout=120,
    )
    assert reply.status_code == 200, reply.text
    return read_rerank(reply.json(), reply.headers, len(documents)).tokens or 0


def check_scores(engine: Engine, documents: Sequence[str], instruction: str | None = None) -> None:
    """Assert that an engine ranks and scores as LocalEngine does."""
    right = local_scores(tuple(documents), instruction)
    ranking = Reranker(engine, instruction=instruction).rank(QUERY, documents)
    order = sorted(range(len(right)), key=lambda at: -right[at])
    assert [result.index for result in ranking.results] == order
    scores = [result.score for result in ranking.results]
    assert scores == pytest.approx([right[at] for at in order], abs=TOLERANCE)
    assert all(result.cut == "no" for result in ranking.results)


@cache
def adapter_scores() -> Scores:
    """The scores of adapter_checks.TEXTS."""
    with LocalEngine("tiny", "cpu", "float32") as engine:
        return scores_by(engine)


def check_adapter(call: Callable[[Any, bool], Scores], rerank: Any) -> None:
    """Assert that an adapter returns the right scores, sync and async, best first."""
    for is_async in (False, True):
        scores = call(rerank, is_async)
        assert scores == pytest.approx(adapter_scores(), abs=TOLERANCE)
        assert list(scores.values()) == sorted(scores.values(), reverse=True)


def check_cut(engine: Engine, document: str) -> None:
    """Assert that a document that is too long is cut, and that what is kept is scored right."""
    (result,) = Reranker(engine).rank(QUERY, [document]).results
    assert result.cut != "no"
    assert result.span is not None
    start, end = result.span
    assert start == 0 < end < len(document)
    (right,) = local_scores((document[:end],))
    assert result.score == pytest.approx(right, abs=TOLERANCE)
