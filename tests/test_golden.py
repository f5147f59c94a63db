"""What earlier versions have saved loads: pickles, `dumps`, `to_dict` and engines' configs."""

from __future__ import annotations

import inspect
import json
import pickle
import warnings
from typing import Any

import pytest
from langchain_core.load import loads

from qwen3_ascend_retrievers import langchain, llama_index
from qwen3_ascend_retrievers.engines.registry import engine_from_config
from support.golden_objects import GOLDEN, adapters, engines, results


def unpickled(name: str) -> Any:
    return pickle.loads((GOLDEN / f"{name}.pickle").read_bytes())


def text_of(name: str) -> str:
    return (GOLDEN / f"{name}.json").read_text("utf-8")


@pytest.mark.parametrize("name", engines())
def test_engines(name: str) -> None:
    expected = engines()[name]
    for engine in (unpickled(name), engine_from_config(json.loads(text_of(name)))):
        assert type(engine) is type(expected)
        assert engine.config() == expected.config()


def revived(name: str) -> Any:
    if name.startswith("llama_index"):
        return llama_index.Qwen3Rerank.from_dict(json.loads(text_of(name)))
    options: dict[str, Any] = {"valid_namespaces": ["qwen3_ascend_retrievers"]}
    if "allowed_objects" in inspect.signature(loads).parameters:
        options["allowed_objects"] = [langchain.Qwen3Rerank]
    with warnings.catch_warnings():
        # `loads` is marked as beta by LangChain.
        warnings.simplefilter("ignore")
        return loads(text_of(name), **options)


@pytest.mark.parametrize("name", adapters())
def test_adapters(name: str) -> None:
    expected = adapters()[name]
    for adapter in (unpickled(name), revived(name)):
        assert type(adapter) is type(expected)
        assert adapter.model_dump() == expected.model_dump()


@pytest.mark.parametrize("name", results())
def test_results(name: str) -> None:
    loaded, expected = unpickled(name), results()[name]
    assert repr(loaded) == repr(expected)
    assert getattr(loaded, "__dict__", None) == getattr(expected, "__dict__", None)


def test_every_file_is_looked_at() -> None:
    names = {*engines(), *adapters(), *results()}
    assert {path.stem for path in GOLDEN.iterdir()} == names
