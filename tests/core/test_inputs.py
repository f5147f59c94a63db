"""What a caller may pass, and what is said to the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from qwen3_ascend_retrievers.core.inputs import check_documents, check_pairs, check_query
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
    given = ["a"]
    check_documents(given).append("b")
    assert given == ["a"]


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
