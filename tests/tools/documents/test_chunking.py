"""Passages cover a text, in order, within their size, and end where a reader would end them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qwen3_ascend_retrievers.tools.documents.chunking import split_text

PIECES = st.sampled_from(
    ["# head\n", "\n", "\n\n", "word ", "A sentence. ", "```\n", "code\n", "句子。", "x" * 30, "  "]
)


@given(st.lists(PIECES, max_size=40).map("".join), st.integers(1, 60))
def test_passages_cover_all_but_space(text: str, size: int) -> None:
    spans = split_text(text, size)
    at = 0
    for start, end in spans:
        assert text[at:start].strip() == ""
        assert 0 < end - start <= size
        assert text[start:end].strip()
        at = end
    assert text[at:].strip() == ""


def passages(text: str, size: int) -> list[str]:
    return [text[start:end] for start, end in split_text(text, size)]


def test_paragraphs_are_joined_and_headings_start_anew() -> None:
    text = "# One\n\n## Sub\n\nfirst\n\nsecond\n\n# Two\nthird\n"
    assert passages(text, 100) == ["# One\n\n## Sub\n\nfirst\n\nsecond", "# Two\nthird"]
    assert passages(text, 22) == ["# One\n\n## Sub\n\nfirst", "second", "# Two\nthird"]


def test_fenced_code_is_one_block() -> None:
    text = "intro\n\n```python\n# no heading\n\nx = 1\n```\n\nend\n"
    assert passages(text, 38) == ["intro", "```python\n# no heading\n\nx = 1\n```\n\nend"]


def test_long_paragraphs_end_at_sentences_else_at_spaces_else_anywhere() -> None:
    assert passages("One two. Three four. Five", 16) == ["One two.", "Three four. Five"]
    assert passages("aaaa bbbb cccc", 10) == ["aaaa bbbb", "cccc"]
    assert passages("a" * 7, 3) == ["aaa", "aaa", "a"]


def test_nothing_makes_no_passage() -> None:
    assert split_text("") == split_text(" \n\n ") == []
