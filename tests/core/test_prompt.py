"""The prompt's text: exact, and not to be steered by what users write."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qwen3_ascend_retrievers.core.prompt import (
    ADDED_TOKENS,
    DEFAULT_INSTRUCTION,
    INSTRUCTIONS,
    document_part,
    instruction_for,
    is_name,
    neutralise,
    original_offset,
    original_offsets,
    prompt,
    query_part,
)
from qwen3_ascend_retrievers.errors import InvalidInputError
from support.strategies import payloads, texts


def test_the_prompt_is_the_model_cards() -> None:
    assert prompt("What?", "This.") == (
        "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query "
        'and the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
        "<|im_start|>user\n<Instruct>: Given a web search query, retrieve relevant passages that "
        "answer the query\n<Query>: What?\n<Document>: This.<|im_end|>\n<|im_start|>assistant\n"
        "<think>\n\n</think>\n\n"
    )


@given(texts(4), texts(4), texts(4))
def test_the_prompt_is_its_two_parts(query: str, document: str, instruction: str) -> None:
    first = query_part(neutralise(instruction), neutralise(query))
    assert prompt(query, document, instruction) == first + document_part(neutralise(document))


@pytest.mark.parametrize("wrong", [None, b"bytes", 3, ["a"], {"a": 1}, object()])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_only_str_makes_a_prompt(wrong: Any, place: int) -> None:
    arguments: list[Any] = ["q", "d", "i"]
    arguments[place] = wrong
    with pytest.raises(InvalidInputError, match=f"not {type(wrong).__name__}"):
        prompt(*arguments)


def test_presets_go_by_name_and_other_text_is_itself() -> None:
    assert instruction_for("web_search") == DEFAULT_INSTRUCTION
    assert instruction_for("Find cats") == "Find cats"
    assert len(set(INSTRUCTIONS.values())) == len(INSTRUCTIONS) >= 7
    for text in INSTRUCTIONS.values():
        assert text == text.strip() == neutralise(text)
    with pytest.raises(InvalidInputError, match="instruction must be a str"):
        instruction_for(7)  # type: ignore[arg-type]


def test_there_are_26_control_tokens() -> None:
    assert len(set(ADDED_TOKENS)) == 26


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("a < b <c> <|x|> < |im_end|> <thinking", "a < b <c> <|x|> < |im_end|> <thinking"),
        ("<|im_end|>", "< |im_end|>"),
        ("<THINK></Think>", "< THINK>< /Think>"),
        ("<thin\u212a>", "< thin\u212a>"),
        ("<|im_\u017ftart|>", "< |im_\u017ftart|>"),
        ("<|\u0131m_end|>", "< |\u0131m_end|>"),
        ("<|\u0130m_end|>", "< |\u0130m_end|>"),
        ("<|im_<|im_end|>end|>", "<|im_< |im_end|>end|>"),
        ("<<<think>>>", "<<< think>>>"),
        ("a\ud800b\udfff", "a\ufffdb\ufffd"),
        ("<think\ud800>", "<think\ufffd>"),
    ],
)
def test_one_space_goes_in_and_nothing_else_changes(text: str, expected: str) -> None:
    assert neutralise(text) == expected


@given(st.text(st.characters(exclude_characters="<", exclude_categories=["Cs"])))
def test_clean_text_stays_as_it_is(text: str) -> None:
    assert neutralise(text) == text


@given(texts() | st.sampled_from(payloads()))
@example("<think><think>")
def test_the_text_is_recoverable_and_every_offset_right(text: str) -> None:
    changed = neutralise(text)
    places = original_offsets(text, range(len(changed) + 1))
    assert places == [original_offset(text, offset) for offset in range(len(changed) + 1)]
    assert places[0] == 0
    assert places[-1] == len(text)
    letters = []
    for at, letter in enumerate(changed):
        if places[at + 1] == places[at]:
            assert letter == " "
            assert changed[at - 1] == "<"
        else:
            letters.append(letter)
            original = text[places[at]]
            assert letter == ("\ufffd" if "\ud800" <= original <= "\udfff" else original)
    assert len(letters) == len(text)


@given(texts() | st.sampled_from(payloads()))
def test_a_second_pass_changes_nothing(text: str) -> None:
    once = neutralise(text)
    assert neutralise(once) == once
    assert original_offset(once, len(once)) == len(once)


@pytest.mark.parametrize(
    ("text", "preset"),
    [
        ("question_answerin", "question_answering"),
        ("question-answering", "question_answering"),
        ("Question_Answering", "question_answering"),
        ("CODE-SEARCH", "code_search"),
        ("codesearch", "code_search"),
        ("web_serach", "web_search"),
        ("FAQ", "faq"),
        ("faqs", "faq"),
        (" faq", "faq"),
        ("faq\n", "faq"),
    ],
)
def test_a_preset_misspelt_is_refused_with_the_nearest(text: str, preset: str) -> None:
    with pytest.raises(InvalidInputError, match=f"Did you mean '{preset}'"):
        instruction_for(text)


@pytest.mark.parametrize(
    "sentence",
    [
        "Find cats",
        "检索能回答该问题的中文段落",
        "質問に答える文章を検索する",
        "ค้นหาข้อความที่ตอบคำถาม",
        "질문답변",
        "Поиск",
    ],
)
def test_sentences_and_other_words_stay_as_they_are(sentence: str) -> None:
    assert instruction_for(sentence) == sentence
    assert not is_name(sentence)
    assert instruction_for("Rerank") == "Rerank"
    assert is_name("Rerank")


@given(st.sampled_from(sorted(INSTRUCTIONS)), st.data())
def test_every_preset_is_near_what_one_or_two_edits_make_of_it(
    preset: str, data: st.DataObject
) -> None:
    text = preset
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, len(text) - 1))
        text = text[:at] + data.draw(st.sampled_from(["", "x", "_"])) + text[at + 1 :]
        text = text or "x"
    if text in INSTRUCTIONS:
        assert instruction_for(text) == INSTRUCTIONS[text]
    else:
        with pytest.raises(InvalidInputError, match=preset):
            instruction_for(text)
