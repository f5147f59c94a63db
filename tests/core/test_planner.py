"""The plan: what is scored for each input, and that it keeps to the limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_ascend_retrievers.core.plan import Limits, Passage, Plan
from qwen3_ascend_retrievers.core.planner import plan_steps
from qwen3_ascend_retrievers.core.prompt import (
    document_part,
    neutralise,
    original_offset,
    query_part,
)
from qwen3_ascend_retrievers.core.steps import drive_tokens
from qwen3_ascend_retrievers.core.tokens import Encoding, estimate
from qwen3_ascend_retrievers.core.validation import Pair
from qwen3_ascend_retrievers.errors import TooLongError
from support.qwen_tokenizer import count, encode
from support.strategies import texts

LONG = "Cats sleep. Dogs bark, loudly. " * 60


def plan_of(pairs: Sequence[Pair], instruction: str = "i", **limits: Any) -> Plan:
    return drive_tokens(plan_steps(pairs, instruction, Limits(**limits)), encode)


def room_for(document: str, query: str = "q") -> int:
    """A max_length that just holds this pair."""
    return count(query_part("i", query) + document_part(document))


def test_each_distinct_pair_is_one_passage_grouped_by_query() -> None:
    plan = plan_of([("q", "a"), ("r", "b"), ("q", "c"), ("q", "a"), ("r", "a")], max_length=None)
    assert [query.query for query in plan.queries] == ["q", "r"]
    passages = [(passage.query, passage.text) for passage in plan.passages]
    assert passages == [(0, "a"), (0, "c"), (1, "b"), (1, "a")]
    assert plan.inputs == ((0,), (2,), (1,), (0,), (3,))
    assert [plan.input_of(passage) for passage in range(4)] == [0, 2, 1, 4]
    part = plan.part([3, 1, 2])
    assert [part.input_of(passage) for passage in range(3)] == [4, 2, 1]
    assert part.part([1]).input_of(0) == 2


def test_nothing_to_plan() -> None:
    assert plan_of([], max_length=8) == Plan((), (), ())


@given(texts(5), texts(5), texts(5))
@settings(max_examples=100)
def test_what_fits_is_whole_and_its_ids_are_the_prompts(query: str, doc: str, task: str) -> None:
    plan = plan_of([(query, doc)], task, max_length=None)
    first, second = query_part(neutralise(task), neutralise(query)), document_part(neutralise(doc))
    assert plan.queries[0].part == first
    assert plan.passages[0].part == second
    assert plan.passages[0].span == (0, len(doc))
    assert plan.passages[0].cut == "no"
    assert plan.prompt_ids(0) == tuple(encode([first + second])[0].ids)
    assert plan.tokens(0) == count(first + second)


@given(texts(8), st.integers(0, 40), st.sampled_from(["truncate", "window"]))
@settings(max_examples=150)
def test_a_prompt_keeps_to_the_limit_and_its_frame(doc: str, more: int, overflow: str) -> None:
    more += 16 if overflow == "window" else 0
    most = room_for("") + more
    plan = plan_of([("q", doc)], max_length=most, overflow=overflow, window_overlap=4)
    neutral = neutralise(doc)
    assert plan.queries[0].part == query_part("i", "q")
    for at, passage in enumerate(plan.passages):
        ids = plan.prompt_ids(at)
        assert ids == tuple(encode([plan.queries[0].part + document_part(passage.text)])[0].ids)
        assert len(ids) <= most
        start, end = passage.span
        # A span that starts or ends at a neutralised token may share its `<` with the outside.
        assert neutralise(doc[start:end]).replace(" ", "") == passage.text.replace(" ", "")
        assert neutral.startswith(passage.text) or overflow == "window"
    spans = [passage.span for passage in plan.passages]
    assert spans[0][0] == 0
    if overflow == "window":
        assert spans[-1][1] == len(doc)
        assert all(before[1] >= after[0] for before, after in pairwise(spans))
    else:
        assert len(spans) == 1
    fits = len(plan.passages) == 1 and plan.passages[0].text == neutral
    whole = fits or overflow == "window"
    assert {passage.cut for passage in plan.passages} == {"no" if whole else "exact"}


def test_the_longest_prompt_that_fits_is_left_whole() -> None:
    for overflow in ("truncate", "window", "error"):
        whole = plan_of([("q", LONG)], max_length=room_for(LONG), overflow=overflow)
        assert [passage.text for passage in whole.passages] == [LONG]
        assert whole.passages[0].cut == "no"


@pytest.mark.parametrize("overflow", ["truncate", "window", "error"])
def test_a_huge_document_of_few_tokens_is_left_whole(overflow: str) -> None:
    """More characters than are measured whole, and yet it fits: Qwen3 has tokens of 128 spaces."""
    text = "a" + " " * 2_000
    plan = plan_of(
        [("q", text)], max_length=room_for(text) + 20, overflow=overflow, window_overlap=4
    )
    assert len(text) > 8 * (room_for(text) + 20)
    (passage,) = plan.passages
    assert (passage.text, passage.span, passage.cut) == (text, (0, len(text)), "no")
    assert plan.tokens(0) == room_for(text)


def test_a_span_counts_in_the_text_as_it_was_passed() -> None:
    document = "<|im_end|>" * 30
    passage = plan_of([("q", document)], max_length=room_for("") + 40).passages[0]
    assert passage.text.startswith("< |im_end|>< |im_end|>")
    assert passage.span == (0, original_offset(document, len(passage.text)))
    assert passage.span[1] < len(passage.text)


def test_overflow_error_names_the_first_input_with_the_document() -> None:
    pairs = [("r", "short"), ("q", "short"), ("q", LONG), ("q", LONG)]
    with pytest.raises(TooLongError, match=r"documents\[2\] .* max_length, 120 tokens") as caught:
        plan_of(pairs, max_length=120, overflow="error")
    assert caught.value.index == 2


@pytest.mark.parametrize("counting", ["always", "when_needed"])
def test_a_query_without_room_is_an_error(counting: str) -> None:
    least = room_for("")
    emptied = plan_of([("q", "1 2 3")], max_length=least, counting=counting).passages[0]
    assert (emptied.text, emptied.span, emptied.cut) == ("", (0, 0), "exact")
    with pytest.raises(TooLongError, match=f"needs {least} tokens of the {least - 1}") as caught:
        plan_of([("q", "d")], max_length=least - 1, counting=counting)
    assert caught.value.index is None


def test_a_window_must_hold_more_than_its_overlap() -> None:
    limits: dict[str, Any] = {"overflow": "window", "window_overlap": 20}
    assert plan_of([("q", "short")], max_length=room_for("") + 39, **limits)
    with pytest.raises(TooLongError, match=r"leaves 39 tokens .* needs 40") as caught:
        plan_of([("q", "short"), ("q", LONG)], max_length=room_for("") + 39, **limits)
    assert caught.value.index == 1
    assert len(plan_of([("q", LONG)], max_length=room_for("") + 40, **limits).passages) > 3


def test_windows_of_several_documents_stay_with_their_inputs() -> None:
    pairs = [("q", LONG), ("q", "short"), ("q", LONG[::-1]), ("q", LONG)]
    plan = plan_of(pairs, max_length=160, overflow="window", window_overlap=8)
    assert plan.inputs[0] == plan.inputs[3]
    assert sorted(at for positions in plan.inputs[:3] for at in positions) == [
        *range(len(plan.passages))
    ]
    for pair, positions in zip(pairs, plan.inputs, strict=True):
        pieces = [plan.passages[at] for at in positions]
        assert all(pair[1][slice(*piece.span)] == piece.text for piece in pieces)


def test_when_needed_counts_only_what_may_not_fit() -> None:
    requested: list[str] = []

    def answer(texts: Sequence[str]) -> Sequence[Encoding]:
        requested.extend(texts)
        return encode(texts)

    limits = Limits(max_length=600, counting="when_needed")
    # Its bytes, 1200, exceed the limit; its tokens do not.
    wordy = "reasonable words " * 60
    plan = drive_tokens(
        plan_steps([("q", "short"), ("q", wordy), ("q", "é" * 200)], "i", limits), answer
    )
    assert plan.tokens(0) is None
    assert plan.prompt_ids(0) is None
    assert plan.tokens(1) == room_for(wordy)
    assert plan.tokens(2) == room_for("é" * 200)
    assert document_part("short") not in requested
    unlimited = replace(limits, max_length=None)
    plan = drive_tokens(plan_steps([("q", LONG)], "i", unlimited), answer)
    assert plan.queries[0].ids is None
    assert plan.passages == (Passage(0, LONG, (0, len(LONG))),)


def test_an_estimate_leaves_no_ids_and_marks_its_cuts() -> None:
    limits = Limits(max_length=200, counting="never")
    plan = drive_tokens(plan_steps([("q", "short"), ("q", LONG)], "i", limits), estimate)
    assert [passage.cut for passage in plan.passages] == ["no", "estimated"]
    assert plan.queries[0].ids is plan.passages[1].ids is None
    assert count(plan.queries[0].part + plan.passages[1].part) <= 200
    assert LONG.startswith(plan.passages[1].text) is True
    windowed = replace(limits, overflow="window", window_overlap=16)
    windows = drive_tokens(
        plan_steps([("q", "short"), ("q", LONG)], "i", windowed), estimate
    ).passages
    assert [passage.cut for passage in windows] == ["no", *["estimated"] * (len(windows) - 1)]
    assert len(windows) > 2
    with pytest.raises(TooLongError, match="needs about"):
        drive_tokens(plan_steps([("q", "d")], "i", replace(limits, max_length=20)), estimate)


def test_questions_stay_small() -> None:
    """Neither 10,000 documents nor a huge one make a question of unbounded size."""
    sizes: list[tuple[int, int]] = []

    def answer(texts: Sequence[str]) -> Sequence[Encoding]:
        sizes.append((len(texts), sum(map(len, texts))))
        return estimate(texts)

    documents = [f"document {number} " * 12 for number in range(2_500)] + ["word " * 400_000]
    pairs = [("q", document) for document in documents]
    plan = drive_tokens(plan_steps(pairs, "i", Limits(max_length=512)), answer)
    assert len(plan.passages) == len(documents)
    assert plan.passages[-1].cut == "exact"
    assert plan.tokens(2_500) in (511, 512)
    assert max(texts for texts, _ in sizes) <= 1024
    assert max(characters for _, characters in sizes) <= 1_000_000
    assert len(sizes) < 8


def test_texts_can_be_left_as_they_are() -> None:
    document = "<think>" + LONG + "<|im_end|>\ud800"
    limits = Limits(max_length=None, neutralise=False)
    plan = drive_tokens(plan_steps([("<think>", document)], "i", limits), encode)
    assert plan.queries[0].query == "<think>"
    assert plan.passages[0].text == document.replace("\ud800", "\ufffd")
    short = replace(
        limits, max_length=count(query_part("i", "<think>")) + count(document_part("")) + 20
    )
    (passage,) = drive_tokens(plan_steps([("<think>", document)], "i", short), encode).passages
    start, end = passage.span
    assert document[start:end] == passage.text
    assert not plan.neutralised
