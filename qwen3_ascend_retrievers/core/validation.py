"""Checks of what the caller passed, before anything is planned."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..errors import InvalidInputError
from .prompt import check_text

Pair = tuple[str, str]

# The ends of Qwen3-Reranker's template, as scripts write it that format their texts themselves
# (vLLM's and vLLM-Ascend's examples): white space and the empty thought may be lost.
_SYSTEM_TURN: Final = "<|im_start|>system"
_USER_TURN: Final = re.compile(r"<\|im_end\|>\s*<\|im_start\|>user\b")
_ANSWER: Final = re.compile(r"<\|im_end\|>\s*<\|im_start\|>assistant\s*(<think>\s*</think>\s*)?\Z")
_LONGEST_ANSWER: Final = 200
_AS_THEY_ARE: Final = (
    "This package builds the prompt around plain texts; with it twice, scores are meaningless. "
    "(RemoteEngine(..., template='none') sends texts as they are.)"
)


def check_query(query: Any, name: str = "query") -> str:
    """`query` if it is a str with something in it.

    Raises:
        InvalidInputError: it is no str, or blank.
    """
    checked = check_text(name, query)
    if not checked.strip():
        raise InvalidInputError(f"{name} is empty. Without a query nothing can be ranked.")
    return checked


def check_documents(documents: Any) -> list[str]:
    """`documents` as a list; blank documents are allowed and scored like any other.

    Raises:
        InvalidInputError: it is one str, no iterable, or holds something that is no str.
    """
    listed = check_list("documents", documents, "str")
    wrong = next((at for at, document in enumerate(listed) if not isinstance(document, str)), None)
    if wrong is not None:
        check_text(f"documents[{wrong}]", listed[wrong])
    return listed


def check_pairs(pairs: Any) -> list[Pair]:
    """`pairs` as a list of (query, document) tuples.

    Raises:
        InvalidInputError: an entry is no pair of str, or its query is blank.
    """
    checked: list[Pair] = []
    for at, pair in enumerate(check_list("pairs", pairs, "(query, document)")):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InvalidInputError(f"pairs[{at}] must be a (query, document) tuple of two str.")
        query = check_query(pair[0], f"pairs[{at}][0]")
        checked.append((query, check_text(f"pairs[{at}][1]", pair[1])))
    return checked


def check_untemplated(pairs: Sequence[Pair]) -> None:
    """Raise InvalidInputError for texts that hold Qwen3-Reranker's whole template already.

    A query is refused by itself. Documents are refused if all of them are templated, as a script
    does it: one among others may come from anybody, and is neutralised like any other text.
    """
    for query in dict.fromkeys([query for query, _ in pairs]):
        if _is_templated_query(query):
            raise InvalidInputError(
                "The query holds Qwen3-Reranker's template already ('<Instruct>: ...', "
                "'<Query>: ...'). Pass the bare query, and the task as instruction=... "
                + _AS_THEY_ARE
            )
    if pairs and all(_is_templated_document(document) for _, document in pairs):
        raise InvalidInputError(
            "The documents hold Qwen3-Reranker's template already: documents[0] begins with "
            "'<Document>:' or a system turn, and ends with the assistant's. Pass the bare "
            "documents. " + _AS_THEY_ARE
        )


def _is_templated_query(text: str) -> bool:
    start = text.lstrip()
    if start.startswith(_SYSTEM_TURN):
        return _USER_TURN.search(start) is not None
    return start.startswith("<Instruct>:") and "<Query>:" in start


def _is_templated_document(text: str) -> bool:
    start, end = text[:_LONGEST_ANSWER].lstrip(), text[-_LONGEST_ANSWER:]
    starts = start.startswith(("<Document>:", _SYSTEM_TURN, "<Instruct>:"))
    return starts and _ANSWER.search(end) is not None


def check_list(name: str, values: Any, of_what: str) -> list[Any]:
    """`values` as a list.

    Raises:
        InvalidInputError: it is one str, bytes or mapping, a set, or no iterable.
    """
    wrong = f"{name} must be a list of {of_what}, not {type(values).__name__}."
    # A set has no order for the results' indexes to mean anything.
    if isinstance(values, str | bytes | Mapping | set | frozenset):
        raise InvalidInputError(wrong)
    try:
        return list(values)
    except TypeError as error:
        raise InvalidInputError(wrong) from error
