"""Cutting to a budget: never over it, never far below it, and windows without gaps."""

from __future__ import annotations

import pydoc_data.topics
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qwen3_ascend_retrievers.core.prompt import document_part, neutralise
from qwen3_ascend_retrievers.core.steps import drive_tokens
from qwen3_ascend_retrievers.core.tokens import Encoding, Tokens, estimate
from qwen3_ascend_retrievers.core.truncation import Piece, fit_prefix, windows
from support.qwen_tokenizer import count, encode
from support.strategies import texts

Encode = Callable[[Sequence[str]], Sequence[Encoding]]


def without_offsets(texts: Sequence[str]) -> list[Tokens]:
    """A server's tokenizer, which tells ids only."""
    return [Tokens(tuple(encoding.ids)) for encoding in encode(texts)]


ENCODERS = [encode, without_offsets, estimate]
EMPTY = count(document_part(""))
PROSE = "\n\n".join(pydoc_data.topics.topics.values())


def sizes(encoder: Encode, parts: Sequence[str]) -> list[int]:
    return [len(encoding.ids) for encoding in encoder(list(map(document_part, parts)))]


@pytest.mark.parametrize("encoder", ENCODERS)
@settings(max_examples=80)
@given(text=texts(6).map(neutralise), more=st.integers(0, 40))
@example(text="\u1100\u1161\u11a8" * 5, more=5)
@example(text="ab " + "\U0001f469\u200d" * 6, more=7)
@example(text=" " * 300, more=1)
@example(text="a" * 100 + "\u0301" * 20, more=9)
def test_the_longest_prefix_that_fits(encoder: Encode, text: str, more: int) -> None:
    budget = sizes(encoder, [""])[0] + more
    piece = drive_tokens(fit_prefix(text, budget), encoder)
    assert piece.text == text[: piece.end]
    assert piece.start == 0
    assert list(piece.ids) == list(encoder([document_part(piece.text)])[0].ids)
    assert len(piece.ids) <= budget
    fitting = [size for size in sizes(encoder, prefixes(text)) if size <= budget]
    assert len(piece.ids) >= fitting[-1] - 1


def prefixes(text: str) -> list[str]:
    return [text[:end] for end in range(len(text) + 1)]


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("budget", [40, 200, 1000])
def test_long_prose_is_cut_close_to_the_budget(encoder: Encode, budget: int) -> None:
    piece = drive_tokens(fit_prefix(PROSE, budget, 1000), encoder)
    assert PROSE[piece.start : piece.end] == piece.text
    assert piece.start == 1000
    assert budget - 1 <= len(piece.ids) <= budget


def test_a_head_of_few_tokens_is_made_longer() -> None:
    text = " " * 5_000 + "end"
    piece = drive_tokens(fit_prefix(text, count(document_part(text))), encode)
    assert piece.text == text


def test_a_budget_below_the_template_cuts_everything() -> None:
    """The planning refuses it before; a tokenizer that contradicts itself must not hang."""
    assert drive_tokens(fit_prefix("some text", EMPTY - 1), encode).text == ""


@pytest.mark.parametrize("encoder", ENCODERS)
@settings(max_examples=80)
@given(
    text=texts(30).map(neutralise).filter(bool),
    more=st.integers(16, 60),
    share=st.floats(0, 0.5),
)
@example(text="a" * 500, more=16, share=0.5)
@example(text=" " * 400 + "\U0001f469\u200d" * 90, more=16, share=0.5)
@example(text="\n" * 500, more=16, share=0.5)
@example(text="word " * 200, more=40, share=0.0)
def test_windows_cover_the_text(encoder: Encode, text: str, more: int, share: float) -> None:
    budget = sizes(encoder, [""])[0] + more
    overlap = int(more * share)
    pieces = drive_tokens(windows(text, budget, overlap), encoder)
    assert pieces[0].start == 0
    assert pieces[-1].end == len(text)
    for piece in pieces:
        assert text[piece.start : piece.end] == piece.text != ""
        assert list(piece.ids) == list(encoder([document_part(piece.text)])[0].ids)
        assert len(piece.ids) <= budget
    for piece, following in pairwise(pieces):
        assert piece.start < following.start <= piece.end
        assert following.start - piece.start >= len(piece.text) // 4


@pytest.mark.parametrize("overlap", [0, 8, 64])
@pytest.mark.parametrize("budget", [EMPTY + 128, EMPTY + 500])
def test_windows_share_what_was_asked_for(budget: int, overlap: int) -> None:
    pieces = drive_tokens(windows(PROSE[:40_000], budget, overlap), encode)
    assert len(pieces) > 10
    shared = [count(PROSE[following.start : piece.end]) for piece, following in pairwise(pieces)]
    # Two tokens of leave: what is shared starts and ends in other neighbours' company here.
    assert max(shared) <= overlap + 2
    assert sum(shared) / len(shared) >= overlap * 0.7
    # Where there is room for several words, the first of them is whole.
    if overlap == 64:
        assert all(PROSE[piece.start - 1].isspace() for piece in pieces[1:])
        assert not any(piece.text[0].isspace() for piece in pieces[1:])


def ends(text: str, budget: int) -> list[Piece]:
    return drive_tokens(windows(text, EMPTY + budget, 0), encode)[:-1]


def test_a_window_ends_at_a_line_end_first() -> None:
    pieces = ends("One sentence. Another one, longer\nthan most of them. " * 40, 60)
    assert pieces
    assert all(piece.text.endswith("\n") for piece in pieces)


def test_a_break_in_the_first_two_thirds_is_too_early() -> None:
    first, *_ = ends("A title.\n\n" + "word " * 400, 60)
    assert first.text.count("word") > 40


def test_else_at_a_sentence_end() -> None:
    pieces = ends("A pi of 3.14159 is enough, mostly. It is so, says Joe. " * 40, 60)
    assert pieces
    assert all(piece.text.endswith((". ", "mostly.", "Joe.")) for piece in pieces)


def test_chinese_sentences_end_without_a_space() -> None:
    pieces = ends("中国的首都是北京，有三千年历史。“长城很长。”" * 40, 60)
    assert pieces
    assert all(piece.text.endswith(("。", "。”")) for piece in pieces)


def test_else_after_a_comma_or_a_word_or_wherever() -> None:
    clauses = ends("first this, then that and more of it " * 40, 40)
    assert all(piece.text.rstrip().endswith(",") for piece in clauses)
    words = ends("alpha beta gamma delta " * 100, 40)
    letters = ends("ACGT" * 300, 40)
    assert clauses
    assert words
    assert letters
    assert all(piece.text.split()[-1] in ["alpha", "beta", "gamma", "delta"] for piece in words)


def test_a_huge_paragraph_is_not_read_again_and_again() -> None:
    """Work is bounded by what is asked: counted, as a clock would say more of the machine."""
    token_counts: list[int] = []

    def counted(texts: Sequence[str]) -> Sequence[Encoding]:
        encodings = estimate(texts)
        token_counts.append(sum(len(encoding.ids) for encoding in encodings))
        return encodings

    text = ("All work and no play makes Jack a dull boy. " * 50_000)[:2_000_000]
    prefix = drive_tokens(fit_prefix(text, 512), counted)
    assert len(prefix.ids) >= 511
    assert sum(token_counts) < 20_000
    token_counts.clear()
    part = text[:300_000]
    pieces = drive_tokens(windows(part, 2048, 64), counted)
    assert pieces[-1].end == len(part)
    assert sum(token_counts) < 3 * len(estimate([part])[0].ids)
