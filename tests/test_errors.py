"""The error tree: every class under one root, told apart, and whole after a pickle."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwen3_ascend_retrievers import RemoteEngine, errors
from qwen3_ascend_retrievers.engines.registry import engine_from_config
from qwen3_ascend_retrievers.errors import (
    EngineError,
    InvalidInputError,
    MissingDependencyError,
    RemoteError,
    RerankError,
    TooLongError,
    summary,
)
from qwen3_ascend_retrievers.models.tokenizer import load_tokenizer
from qwen3_ascend_retrievers.tools.documents.files import read_text

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
    restored = again(error)  # type: ignore[operator]
    assert type(restored) is kind
    assert str(restored) == "what to do next"
    assert {name: getattr(restored, name) for name in fields} == fields


def test_a_summary_quotes_nobody_but_us() -> None:
    assert summary(EngineError("broken")) == "EngineError: broken"
    text = summary(RemoteError("it said: x", status=503, request_id="r-1"))
    assert text == "RemoteError, status 503, request_id r-1"
    error = TooLongError("torch said: x", index=3)
    error.__cause__ = ValueError("x")
    assert summary(error) == "TooLongError, caused by ValueError, index 3"


def _broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")
    load_tokenizer(str(folder))


FAILING: dict[str, tuple[Callable[[Path], Any], type[Exception]]] = {
    "a file": (lambda folder: read_text(folder / "none"), OSError),
    "a tokenizer": (_broken_tokenizer, Exception),
    "an argument": (lambda _: engine_from_config({"engine": "local", "no": 1}), TypeError),
    "a CA file": (
        lambda folder: RemoteEngine("http://h", verify=str(folder / "none")).facts(),
        OSError,
    ),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_chain_ends_in_the_librarys_own_error(name: str, tmp_path: Path) -> None:
    fail, expected = FAILING[name]
    with pytest.raises(RerankError) as caught:
        fail(tmp_path)
    chain: list[BaseException] = [caught.value]
    while (cause := chain[-1].__cause__) is not None:
        assert cause not in chain
        chain.append(cause)
    assert len(chain) > 1
    assert isinstance(chain[-1], expected)
    assert not isinstance(chain[-1], RerankError)
