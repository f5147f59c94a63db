"""Offsets from token strings are those of the tokenizers library."""

from __future__ import annotations

import unicodedata

import pytest
import tokenizers
from hypothesis import assume, example, given
from hypothesis import strategies as st

from qwen3_ascend_retrievers.core.prompt import document_part, neutralise
from qwen3_ascend_retrievers.models.byte_level import offsets_from_strings
from support.qwen_tokenizer import qwen_tokenizer
from support.rerank_answers import tokenizer_of

TEXTS = st.text(
    st.characters(codec="utf-8") | st.sampled_from("aé北🙂 \n\t e\u0301İΣßק👩‍👩‍👧각ᄀ<|>"),
    max_size=40,
)


def in_order(text: str) -> bool:
    """Whether NFC neither reorders marks nor makes two letters of one: then all is exact."""
    apart = "".join(unicodedata.normalize("NFD", letter) for letter in text)
    grows = any(len(unicodedata.normalize("NFC", letter)) > 1 for letter in text)
    return unicodedata.normalize("NFD", text) == apart and not grows


def check(tokenizer: tokenizers.Tokenizer, text: str) -> None:
    assume(in_order(text))
    part = document_part(neutralise(text))
    encoding = tokenizer.encode(part, add_special_tokens=False)
    strings = [tokenizer.id_to_token(token_id) for token_id in encoding.ids]
    assert list(offsets_from_strings(part, strings)) == encoding.offsets


@given(TEXTS)
@example("İstanbul ΣΑΣ ẞ")
@example("cafe\u0301 re\u0301sume\u0301")
@example("\u1112\u1161\u11ab")
def test_the_tiny_tokenizer(text: str) -> None:
    check(tokenizer_of(), text)


@given(TEXTS)
@example("👩‍👩‍👧‍👦 🤷🏽‍♀️")
@example("q\u0323\u0307")
def test_the_qwen_tokenizer(text: str) -> None:
    check(qwen_tokenizer(), text)


@pytest.mark.parametrize("text", ["plain ASCII, twice.", "北京 🙂 é", "Ünïcödé ALL CAPS"])
@pytest.mark.parametrize("which", ["tiny", "qwen"])
def test_text_that_is_nfc_has_the_same_offsets(text: str, which: str) -> None:
    tokenizer = tokenizer_of() if which == "tiny" else qwen_tokenizer()
    encoding = tokenizer.encode(text, add_special_tokens=False)
    strings = [tokenizer.id_to_token(token_id) for token_id in encoding.ids]
    assert list(offsets_from_strings(text, strings)) == encoding.offsets


def test_strings_that_spell_something_else_give_no_offsets() -> None:
    assert offsets_from_strings("abc", ["ab"]) == ()
    assert offsets_from_strings("abc", ["x", "bc"]) == ()
    assert offsets_from_strings("abc", ["ab", "北"]) == ()


def test_an_empty_token_covers_nothing() -> None:
    assert offsets_from_strings("ab", ["a", "", "b"]) == ((0, 1), (0, 0), (1, 2))
    assert offsets_from_strings("", []) == ()
