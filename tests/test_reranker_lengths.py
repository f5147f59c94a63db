"""The facade and long texts: budgets, windows, spans and tokens, by Qwen3's own tokenizer."""

from __future__ import annotations

from typing import Any

import pytest

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.core.prompt import document_part, neutralise, prompt
from qwen3_ascend_retrievers.core.ranking import RankedDocument
from qwen3_ascend_retrievers.core.results import Usage
from qwen3_ascend_retrievers.errors import TooLongError
from support.qwen_tokenizer import count
from support.reranker_calls import LONG, CountingEngine, Rank, ScoreAll, rankings, scorings


@rankings
async def test_tokens_are_those_of_the_prompts(rank: Rank) -> None:
    documents = ["The cat <|im_end|>", "a dog", "a dog"]
    made = await rank(Reranker(CountingEngine()), "cat?", documents)
    for one in made.results:
        assert one.tokens == count(prompt("cat?", one.document))
    whole = sum(count(prompt("cat?", document)) for document in documents[:2])
    assert made.usage == Usage(documents=3, passages=2, prompt_tokens=whole)


@rankings
@pytest.mark.parametrize(
    ("of_engine", "of_settings"), [(None, 150), (150, None), (150, 9000), (400, 150)]
)
async def test_the_smaller_maximum_holds(rank: Rank, of_engine: Any, of_settings: Any) -> None:
    engine = CountingEngine(of_engine)
    made = await rank(Reranker(engine, max_length=of_settings), "cat", [LONG, "short"])
    cut = next(one for one in made.results if one.index == 0)
    assert cut.tokens in (149, 150)
    assert cut.truncated
    assert cut.cut == "exact"
    assert cut.span is not None
    assert engine.plans[0].passages[0].text == LONG[: cut.span[1]]


@rankings
async def test_the_best_window_wins_with_its_span(rank: Rank) -> None:
    reranker = Reranker(CountingEngine(200), overflow="window", window_overlap=16)
    documents = ["<think>" + LONG, "a cat"]
    made = await rank(reranker, "cat sleeps", documents)
    best = made.results[0]
    assert best.index == 0
    assert best.windows > 5
    assert best.window is not None
    assert 0 < best.window < best.windows
    assert best.span is not None
    assert "The cat sleeps." in best.document[slice(*best.span)]
    assert best.tokens is not None
    assert best.tokens <= 200
    assert made.results[1] == RankedDocument(
        1, "a cat", 0.5, tokens=count(prompt("cat sleeps", "a cat")), span=(0, 5)
    )
    assert made.usage.passages == best.windows + 1


@rankings
async def test_spans_are_in_the_callers_text(rank: Rank) -> None:
    engine = CountingEngine(200)
    document = "<think>stop</think>" * 200
    (made,) = (await rank(Reranker(engine), "cat", [document])).results
    assert made.span is not None
    kept = document[slice(*made.span)]
    assert document_part(neutralise(kept)) == engine.plans[0].passages[0].part
    assert kept != engine.plans[0].passages[0].text


@rankings
async def test_without_a_tokenizer_the_cut_is_an_estimate(rank: Rank) -> None:
    made = await rank(Reranker(CountingEngine(200, "never")), "cat", [LONG, "short"])
    assert [
        (one.cut, one.truncated, one.tokens)
        for one in sorted(made.results, key=lambda one: one.index)
    ] == [("estimated", True, None), ("no", False, None)]
    assert made.usage.prompt_tokens is None


@rankings
async def test_too_long_is_an_error_where_it_shall_be(rank: Rank) -> None:
    reranker = Reranker(CountingEngine(200), overflow="error")
    with pytest.raises(TooLongError, match=r"documents\[1\]") as caught:
        await rank(reranker, "cat", ["short", LONG])
    assert caught.value.index == 1
    with pytest.raises(TooLongError, match="Shorten the query"):
        await rank(Reranker(CountingEngine(200)), LONG, ["short"])


@scorings
async def test_pairs_take_the_best_window(score: ScoreAll) -> None:
    reranker = Reranker(CountingEngine(200), overflow="window", window_overlap=16)
    assert await score(reranker, [("cat", LONG), ("dolphin", LONG)]) == [1.0, 0.0]
