"""Both adapters have the same fields, defaults and error texts."""

from __future__ import annotations

import logging
from copy import copy
from traceback import format_exception
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager
from pydantic import BaseModel, SecretStr, ValidationError

from qwen3_ascend_retrievers import RemoteEngine, langchain, llama_index
from qwen3_ascend_retrievers.errors import EngineClosedError, EngineError, InvalidInputError
from qwen3_ascend_retrievers.testing import FakeEngine

BOTH = [langchain.Qwen3Rerank, llama_index.Qwen3Rerank]
OWN = {"score_key", "document_text", "metadata_mode", "callback_manager"}
KEY = "sk-very-secret"


def fields_of(kind: type[BaseModel]) -> dict[str, Any]:
    return {
        name: (field.annotation, field.default, field.exclude)
        for name, field in kind.model_fields.items()
        if name not in OWN | {"top_n"}
    }


def test_the_same_fields_and_defaults_but_top_n() -> None:
    first, second = (fields_of(kind) for kind in BOTH)
    assert first == second
    assert len(first) == 17
    assert [kind.model_fields["top_n"].default for kind in BOTH] == [3, 2]


def test_a_component_prints_what_was_set_and_no_key() -> None:
    for kind in BOTH:
        rerank = kind(base_url="http://npu-host:8000", top_n=5, api_key=KEY)
        rerank.instruction = "Find cats"
        if kind is llama_index.Qwen3Rerank:
            rerank.callback_manager = CallbackManager()
        assert repr(rerank) == (
            "Qwen3Rerank(base_url='http://npu-host:8000', top_n=5, instruction='Find cats')"
        )
        assert str(rerank) == "base_url='http://npu-host:8000' top_n=5 instruction='Find cats'"
        assert repr(kind(model="tiny")) == "Qwen3Rerank(model='tiny')"


WRONG: list[dict[str, Any]] = [
    {"top_n": 0},
    {"top_n": -1},
    {"top_n": True},
    {"top_n": "3"},
    {"top_n": 2.5},
    {"instruction": " "},
    {"instruction": 3},
    {"score_threshold": 1.5},
    {"score_threshold": float("nan")},
    {"overflow": "cut"},
    {"on_error": "ignore"},
    {"max_length": 0},
    {"window_overlap": -1},
    {"engine": "tiny"},
    {"engine": FakeEngine},
    {"engine": {"engine": ["local"]}},
    {"engine": FakeEngine(), "model": "tiny"},
    {"engine": FakeEngine(), "base_url": "http://npu"},
    {"engine": FakeEngine(), "api_key": KEY},
    {"api_key": KEY},
    {"api_key": 3},
    {"model": ""},
    {"model": 3},
    {"base_url": " "},
    {"base_url": []},
    {"base_url": ["http://npu", ""]},
    {"base_url": ["http://npu", f"http://{KEY}@npu"]},
    {"base_url": 3},
    {"base_url": f"http://user:{KEY}@npu"},
    {"base_url": f"user:{KEY}@npu:8000"},
    {"base_url": f"http://npu/?key={KEY}"},
    {"base_url": f"http://user:{KEY}#@npu"},
    {"base_url": "http://npu:80800/v1"},
    {"show_progress": KEY},
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: str([*wrong]))
def test_the_same_error_for_a_wrong_value(wrong: dict[str, Any]) -> None:
    texts = set()
    for kind in BOTH:
        with pytest.raises(InvalidInputError) as caught:
            kind(**wrong)
        texts.add(str(caught.value))
        assert isinstance(caught.value, ValueError)
        assert KEY not in f"{caught.value} {caught.value.__cause__}"
    assert len(texts) == 1


@pytest.mark.parametrize("kind", BOTH, ids=["langchain", "llama_index"])
def test_unknown_fields_are_refused_without_their_values(kind: Any) -> None:
    with pytest.raises(InvalidInputError, match="has no field apikey") as caught:
        kind(base_url="http://npu", apikey=KEY)
    shown = "".join(format_exception(caught.value))
    assert KEY not in shown
    assert "pydantic" not in shown


MISTAKES = [
    ({"top_k": 3}, "no field top_k. Did you mean top_n"),
    ({"model_name": "tiny"}, "no field model_name. Did you mean model"),
    ({"score_treshold": 0.5}, "Did you mean score_threshold"),
    ({"Instructions": "a task"}, "Did you mean instruction"),
    ({"device": "npu:0"}, r'belongs to LocalEngine: pass engine_options=\{"device": ...\}\.$'),
    ({"dtype": "float32"}, r'VLLMEngine or LocalEngine: pass engine_options=\{"dtype": ...\}'),
    ({"timeout": 3}, r'RemoteEngine: pass engine_options=\{"timeout": ...\}'),
    ({"engine_option": {}}, r"Did you mean engine_options\?"),
    ({"nothing_alike": 3}, "no field nothing_alike. It has: api_key, base_url"),
]


@pytest.mark.parametrize("kind", BOTH, ids=["langchain", "llama_index"])
@pytest.mark.parametrize(("arguments", "advice"), MISTAKES, ids=str)
def test_an_unknown_field_is_answered_with_the_right_one(
    kind: Any, arguments: dict[str, Any], advice: str
) -> None:
    with pytest.raises(InvalidInputError, match=advice):
        kind(**arguments)


@pytest.mark.parametrize("kind", BOTH, ids=["langchain", "llama_index"])
@pytest.mark.parametrize(
    ("value", "likely"),
    [
        ("tiny", 'model="tiny"'),
        ("Qwen/Qwen3-Reranker-4B", 'model="Qwen/Qwen3-Reranker-4B"'),
        (KEY, 'model="..."'),
        (f"http://{KEY}@npu", "base_url=..."),
        (FakeEngine(), "engine=..."),
    ],
    ids=["tiny", "hub", "key", "url", "engine"],
)
def test_an_argument_without_its_name(kind: Any, value: Any, likely: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        kind(value)
    assert str(caught.value).endswith(f"by name only: write Qwen3Rerank({likely}).")


@pytest.mark.parametrize("kind", BOTH, ids=["langchain", "llama_index"])
def test_assignments_are_checked(kind: Any) -> None:
    rerank = kind(engine=FakeEngine())
    with pytest.raises(InvalidInputError, match="top_n is 0"):
        rerank.top_n = 0
    with pytest.raises(InvalidInputError, match="engine must be an engine object"):
        rerank.engine = 3
    rerank.top_n = 1
    assert len(rerank.rerank(["a", "b"], "q")) == 1
    rerank.model = "tiny"
    with pytest.raises(InvalidInputError, match="engine and model exclude each other"):
        rerank.rerank(["a"], "q")


@pytest.mark.parametrize("kind", BOTH, ids=["langchain", "llama_index"])
def test_as_a_field_of_another_model(kind: Any) -> None:
    class Holder(BaseModel):
        """A user's settings."""

        rerank: kind

    assert Holder(rerank={"base_url": "http://npu", "top_n": 7}).rerank.top_n == 7
    with pytest.raises(ValidationError, match="top_n is 0"):
        Holder(rerank={"top_n": 0})


@pytest.mark.parametrize("kind", BOTH, ids=["langchain", "llama_index"])
async def test_close_leaves_a_passed_engine_to_its_owner(kind: Any) -> None:
    class Closable(FakeEngine):
        """Cannot be closed by others."""

        def close(self) -> None:
            raise EngineClosedError("closed")

        async def aclose(self) -> None:
            raise EngineClosedError("closed")

    rerank = kind(engine=Closable())
    rerank.close()
    await rerank.aclose()
    assert rerank.rerank(["a"], "a") == [{"index": 0, "relevance_score": 1.0}]


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("copied", [copy, lambda rerank: rerank.model_copy(update={"top_n": 1})])
def test_a_copy_shares_the_engine_and_the_last_one_closes_it(
    kind: Any, copied: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Any] = []
    monkeypatch.setattr(RemoteEngine, "close", lambda engine: closed.append(engine))
    rerank = kind(base_url="http://127.0.0.1:9")
    engine = rerank._engine()
    other = copied(rerank)
    assert other._engine() is engine
    other.close()
    assert rerank._engine() is engine
    assert closed == []
    copied(rerank)  # One that is forgotten holds nothing.
    rerank.close()
    assert closed == [engine]


@pytest.mark.parametrize("kind", BOTH, ids=["langchain", "llama_index"])
def test_a_copy_with_other_settings_leaves_the_shared_engine(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Any] = []
    monkeypatch.setattr(RemoteEngine, "close", lambda engine: closed.append(engine))
    rerank = kind(base_url="http://127.0.0.1:9")
    first = rerank._engine()
    other = rerank.model_copy(update={"base_url": "http://127.0.0.1:10"})
    second = other._engine()
    assert second is not first
    rerank.close()
    other.close()
    assert closed == [first, second]


@pytest.mark.parametrize("kind", BOTH, ids=["langchain", "llama_index"])
async def test_a_chosen_engine_is_kept_until_closed(kind: Any) -> None:
    rerank = kind(base_url="http://127.0.0.1:9", api_key=SecretStr(KEY))
    first = rerank._engine()
    assert rerank._engine() is first
    rerank.close()
    second = rerank._engine()
    assert second is not first
    await rerank.aclose()
    assert rerank._engine() is not second
    rerank.close()


@pytest.mark.parametrize("kind", BOTH, ids=["langchain", "llama_index"])
def test_keep_order_is_logged(kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    engine = FakeEngine(error=EngineError("no memory"))
    with caplog.at_level(logging.WARNING, logger="qwen3_ascend_retrievers"):
        rows = kind(engine=engine, on_error="keep_order", top_n=2).rerank(["a", "b", "c"], "q")
    values = {"relevance_score": None, "rerank_status": "kept_order"}
    assert rows == [{"index": 0, **values}, {"index": 1, **values}]
    assert "no memory" in caplog.text
