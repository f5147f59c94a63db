"""Checks of what the caller passed, before anything is planned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InvalidInputError
from .prompt import check_text

Pair = tuple[str, str]


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
    listed = _listed("documents", documents, "str")
    return [check_text(f"documents[{at}]", document) for at, document in enumerate(listed)]


def check_pairs(pairs: Any) -> list[Pair]:
    """`pairs` as a list of (query, document) tuples.

    Raises:
        InvalidInputError: an entry is no pair of str, or its query is blank.
    """
    checked: list[Pair] = []
    for at, pair in enumerate(_listed("pairs", pairs, "(query, document)")):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InvalidInputError(f"pairs[{at}] must be a (query, document) tuple of two str.")
        query = check_query(pair[0], f"pairs[{at}][0]")
        checked.append((query, check_text(f"pairs[{at}][1]", pair[1])))
    return checked


def _listed(name: str, values: Any, of_what: str) -> list[Any]:
    wrong = f"{name} must be a list of {of_what}, not {type(values).__name__}."
    # A set has no order for the results' indexes to mean anything.
    if isinstance(values, str | bytes | Mapping | set | frozenset):
        raise InvalidInputError(wrong)
    try:
        return list(values)
    except TypeError as error:
        raise InvalidInputError(wrong) from error
