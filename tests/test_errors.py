"""The error tree: every class under one root, told apart, and whole after a pickle."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from qwen3_ascend_retrievers import errors
from qwen3_ascend_retrievers.errors import (
    EngineError,
    InvalidInputError,
    MissingDependencyError,
    RemoteError,
    RerankError,
    TooLongError,
)

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("kind", CLASSES)
def test_the_module_docstring_is_the_tree(kind: type[RerankError]) -> None:
    assert issubclass(kind, RerankError)
    assert kind.__name__ in (errors.__doc__ or "")
    assert kind.__doc__


def test_input_errors_are_what_frameworks_promise() -> None:
    assert issubclass(InvalidInputError, ValueError)
    assert issubclass(TooLongError, ValueError)
    assert issubclass(MissingDependencyError, ImportError)
    assert not issubclass(InvalidInputError, EngineError)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))]
)
def test_pickles_and_copies_are_whole(kind: type[RerankError], again: object) -> None:
    fields: dict[str, object] = {}
    if issubclass(kind, TooLongError):
        fields = {"index": 3}
    if issubclass(kind, RemoteError):
        fields = {"status": 503, "request_id": "r-1"}
    error = kind("what to do next", **fields)
    made = again(error)  # type: ignore[operator]
    assert type(made) is kind
    assert str(made) == "what to do next"
    assert {name: getattr(made, name) for name in fields} == fields
