"""Offsets from token strings are those of the tokenizers library."""

from __future__ import annotations

import pytest
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st
from qwen_tokenizer import qwen_tokenizer
from rerank_answers import tokenizer_of

from qwen3_ascend_retrievers.core.byte_level import offsets_from_strings
from qwen3_ascend_retrievers.core.prompt import document_part, neutralise

TEXTS = st.text(
    st.characters(codec="utf-8") | st.sampled_from("aé北🙂 \n\t e\u0301İΣßק👩‍👩‍👧각ᄀ<|>"),
    max_size=40,
)


def check(tokenizer: tokenizers.Tokenizer, text: str) -> None:
    part = document_part(neutralise(text))
    encoding = tokenizer.encode(part, add_special_tokens=False)
    strings = [tokenizer.id_to_token(one) for one in encoding.ids]
    made = offsets_from_strings(part, strings)
    assert len(made) == len(encoding.ids)
    # In text that NFC changes the library splits some clusters that are kept whole here.
    exact = all(one in encoding.offsets for one in made)
    assert exact or made_covers(made, encoding.offsets)


def made_covers(made: tuple[tuple[int, int], ...], theirs: list[tuple[int, int]]) -> bool:
    return all(
        start <= begin and end >= stop
        for (start, end), (begin, stop) in zip(made, theirs, strict=True)
    )


@given(TEXTS)
@example("İstanbul ΣΑΣ ẞ")
@example("cafe\u0301 re\u0301sume\u0301")
@example("\u1112\u1161\u11ab")
def test_the_tiny_tokenizer(text: str) -> None:
    check(tokenizer_of(), text)


@given(TEXTS)
@example("👩‍👩‍👧‍👦 🤷🏽‍♀️")
@example("q\u0323\u0307 and q\u0307\u0323")
def test_the_qwen_tokenizer(text: str) -> None:
    check(qwen_tokenizer(), text)


@pytest.mark.parametrize("text", ["plain ASCII, twice.", "北京 🙂 é", "Ünïcödé ALL CAPS"])
@pytest.mark.parametrize("which", ["tiny", "qwen"])
def test_text_that_is_nfc_has_the_same_offsets(text: str, which: str) -> None:
    tokenizer = tokenizer_of() if which == "tiny" else qwen_tokenizer()
    encoding = tokenizer.encode(text, add_special_tokens=False)
    strings = [tokenizer.id_to_token(one) for one in encoding.ids]
    assert list(offsets_from_strings(text, strings)) == encoding.offsets


def test_strings_that_spell_something_else_give_no_offsets() -> None:
    assert offsets_from_strings("abc", ["ab"]) == ()
    assert offsets_from_strings("abc", ["x", "bc"]) == ()
    assert offsets_from_strings("abc", ["ab", "北"]) == ()


def test_an_empty_token_covers_nothing() -> None:
    assert offsets_from_strings("ab", ["a", "", "b"]) == ((0, 1), (0, 0), (1, 2))
    assert offsets_from_strings("", []) == ()
