"""What a caller may pass, and what is said to the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from qwen3_ascend_retrievers.core.prompt import (
    DEFAULT_INSTRUCTION,
    PREFIX,
    SUFFIX,
    document_part,
    prompt,
    query_part,
)
from qwen3_ascend_retrievers.core.validation import (
    check_documents,
    check_pairs,
    check_query,
    check_untemplated,
)
from qwen3_ascend_retrievers.errors import InvalidInputError


def test_good_input_comes_back_as_lists() -> None:
    assert check_query(" what ") == " what "
    assert check_documents(("a", "", " \n")) == ["a", "", " \n"]
    assert check_documents(text for text in "ab") == ["a", "b"]
    assert check_documents({"a": 1, "b": 2}.keys()) == ["a", "b"]
    assert check_documents([]) == []
    assert check_pairs(()) == []
    assert check_pairs([("q", ""), ["r", "d"]]) == [("q", ""), ("r", "d")]


def test_a_list_is_copied() -> None:
    documents = ["a"]
    check_documents(documents).append("b")
    assert documents == ["a"]


@pytest.mark.parametrize(
    ("check", "wrong", "message"),
    [
        (check_query, None, "query must be a str, not NoneType"),
        (check_query, b"what", "query must be a str, not bytes"),
        (check_query, ["what"], "query must be a str, not list"),
        (check_query, "", "query is empty"),
        (check_query, " \n\t\u3000", "query is empty"),
        (check_documents, "abc", "documents must be a list of str, not str"),
        (check_documents, b"abc", "documents must be a list of str, not bytes"),
        (check_documents, {"a": "b"}, "documents must be a list of str, not dict"),
        (check_documents, {"a", "b"}, "documents must be a list of str, not set"),
        (check_documents, frozenset("a"), "documents must be a list of str, not frozenset"),
        (check_documents, None, "documents must be a list of str, not NoneType"),
        (check_documents, 3, "documents must be a list of str, not int"),
        (check_documents, ["a", None], r"documents\[1\] must be a str, not NoneType"),
        (check_documents, [["a"]], r"documents\[0\] must be a str, not list"),
        (check_documents, bytearray(b"a"), r"documents\[0\] must be a str, not int"),
        (check_pairs, "ab", r"pairs must be a list of \(query, document\), not str"),
        (check_pairs, {"q": "d"}, r"pairs must be a list of \(query, document\), not dict"),
        (check_pairs, None, r"pairs must be a list of \(query, document\), not NoneType"),
        (check_pairs, ["qd"], r"pairs\[0\] must be a \(query, document\) tuple"),
        (check_pairs, [("q", "d"), ("q",)], r"pairs\[1\] must be"),
        (check_pairs, [("q", "d", "x")], r"pairs\[0\] must be"),
        (check_pairs, [("q", 1)], r"pairs\[0\]\[1\] must be a str, not int"),
        (check_pairs, [(1, "d")], r"pairs\[0\]\[0\] must be a str, not int"),
        (check_pairs, [(" ", "d")], r"pairs\[0\]\[0\] is empty"),
    ],
)
def test_bad_input_is_named(check: Callable[[Any], Any], wrong: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        check(wrong)


def test_an_error_of_the_callers_own_iterator_is_the_callers() -> None:
    def broken() -> Iterator[str]:
        yield "a"
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        check_documents(broken())


TEMPLATED_QUERIES = {
    "whole": query_part(DEFAULT_INSTRUCTION, "q"),
    "without the prefix": "<Instruct>: Find\n<Query>: q\n",
    "in one line": "<Instruct>: Find <Query>: q",
    "stripped": query_part(DEFAULT_INSTRUCTION, "q").strip(),
    "line ends of Windows": query_part("Find", "q").replace("\n", "\r\n"),
    "indented": "  " + query_part("Find", "q"),
    "the system turn alone": f"{PREFIX}q",
}
TEMPLATED_DOCUMENTS = {
    "whole": document_part("d"),
    "stripped": document_part("d").strip(),
    "without a thought": "<Document>: d<|im_end|>\n<|im_start|>assistant\n",
    "line ends of Windows": document_part("d").replace("\n", "\r\n"),
    "long": document_part("d" * 10_000),
    "the whole prompt": prompt("q", "d").replace("< ", "<"),
    "without the prefix": f"<Instruct>: Find\n<Query>: q\n<Document>: d{SUFFIX}",
}


@pytest.mark.parametrize("what", TEMPLATED_QUERIES)
def test_a_templated_query_is_refused(what: str) -> None:
    with pytest.raises(InvalidInputError, match="Pass the bare query"):
        check_untemplated([("fine", "a"), (TEMPLATED_QUERIES[what], "b")])


@pytest.mark.parametrize("what", TEMPLATED_DOCUMENTS)
def test_templated_documents_are_refused_if_all_are(what: str) -> None:
    document = TEMPLATED_DOCUMENTS[what]
    with pytest.raises(InvalidInputError, match="Pass the bare documents"):
        check_untemplated([("q", document), ("q", document_part(""))])
    check_untemplated([("q", document), ("q", "a document of somebody else's")])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "What is <Instruct>: in Qwen3-Reranker's template, and <Query>:?",
        "<|im_start|>system is the first token of what?",
        "<Document>: without an end",
        f"Code listings may end with the suffix: {SUFFIX}",
        f"{document_part('d')}and go on",
        "<think>\n\n</think>\n\n",
    ],
)
def test_texts_about_the_template_are_texts(text: str) -> None:
    check_untemplated([(text or "q", text)])


def test_no_pair_is_no_template() -> None:
    check_untemplated([])
