"""Writing the compressor down and making it again: dumps, loads, pickle, copies; never the key."""

from __future__ import annotations

import copy
import inspect
import pickle
import warnings
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.load import dumps, loads

from qwen3_ascend_retrievers.errors import InvalidInputError
from qwen3_ascend_retrievers.langchain import Qwen3Rerank
from qwen3_ascend_retrievers.settings import API_KEY_VARIABLE
from qwen3_ascend_retrievers.testing import FakeEngine
from support.odd_engines import Foreign

KEY = "sk-very-secret"
SETTINGS: dict[str, Any] = {
    "top_n": None,
    "instruction": "Find {braces}",
    "score_threshold": 0.0,
    "overflow": "window",
    "on_error": "keep_order",
    "max_length": 512,
    "document_text": ["title"],
    "score_key": "score",
    "diagnostics": True,
    "max_documents": 7,
    "combine": "rrf",
    "cache": {"memory": 1000},
    "cache_namespace": "v1",
}


def revive(text: str, **more: Any) -> Qwen3Rerank:
    """`loads`, with what to allow where this langchain-core asks for it."""
    if "allowed_objects" in inspect.signature(loads).parameters:
        more["allowed_objects"] = [Qwen3Rerank]
    with warnings.catch_warnings():
        # `loads` is marked as beta by LangChain.
        warnings.simplefilter("ignore")
        revived = loads(text, valid_namespaces=["qwen3_ascend_retrievers"], **more)
    assert isinstance(revived, Qwen3Rerank)
    return revived


WAYS = {
    "dumps": lambda rerank: revive(dumps(rerank)),
    "pickle": lambda rerank: pickle.loads(pickle.dumps(rerank)),
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("way", WAYS)
def test_settings_come_back(way: str) -> None:
    for more in ({"base_url": "http://npu:8000", "model": "m"}, {"model": "tiny"}, {}):
        rerank = Qwen3Rerank(**SETTINGS, **more)
        assert WAYS[way](rerank).model_dump() == rerank.model_dump()


@pytest.mark.parametrize("way", WAYS)
def test_an_engine_of_ours_comes_back(way: str) -> None:
    rerank = Qwen3Rerank(engine=FakeEngine({"a": 0.75}, model="m"))
    again = WAYS[way](rerank)
    assert again.engine is not rerank.engine
    assert again.compress_documents([Document("a")], "q")[0].metadata == {"relevance_score": 0.75}


@pytest.mark.parametrize("way", WAYS)
def test_the_key_is_left_out(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # langchain-core 0.3 refuses to load a secret that is not in the environment.
    monkeypatch.setenv(API_KEY_VARIABLE, "from-the-environment")
    again = WAYS[way](Qwen3Rerank(base_url="http://npu:8000", api_key=KEY))
    assert again.base_url == "http://npu:8000"
    assert KEY not in str(again.api_key and again.api_key.get_secret_value())


def test_the_key_is_nowhere_to_be_read() -> None:
    rerank = Qwen3Rerank(base_url="http://npu:8000", api_key=KEY)
    rerank._engine()
    assert rerank.api_key is not None
    outputs = [repr(rerank), str(rerank), str(rerank.model_dump()), rerank.model_dump_json()]
    outputs += [dumps(rerank), str(pickle.dumps(rerank)), repr(vars(rerank))]
    outputs.append(repr(vars(rerank._handle)))
    assert not [text for text in outputs if KEY in text]
    assert "*" not in dumps(rerank)
    assert rerank.lc_secrets == {"api_key": API_KEY_VARIABLE}


def test_a_key_set_later_is_hidden_too() -> None:
    rerank = Qwen3Rerank(base_url="http://npu:8000")
    rerank.api_key = KEY  # type: ignore[assignment]
    assert KEY not in repr(rerank.api_key)


def test_a_foreign_engine_cannot_be_written_down() -> None:
    rerank = Qwen3Rerank(engine=Foreign({"a": 0.5}))
    assert rerank.compress_documents([Document("a")], "q")[0].metadata == {"relevance_score": 0.5}
    with pytest.raises(InvalidInputError, match="foreign class Foreign cannot be written down"):
        dumps(rerank)


def test_a_function_cannot_be_written_down() -> None:
    with pytest.raises(InvalidInputError, match="function as document_text"):
        dumps(Qwen3Rerank(document_text=str))


def test_a_shallow_copy_with_another_model_chooses_again() -> None:
    rerank = Qwen3Rerank(base_url="http://npu:8000")
    engine = rerank._engine()
    other = rerank.model_copy(update={"base_url": "http://other:8000"})
    assert other._engine() is not engine
    assert rerank._engine() is engine


def test_an_unknown_engine_in_a_config_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="An engine's config needs 'engine'"):
        Qwen3Rerank(engine={"engine": "steam"})
