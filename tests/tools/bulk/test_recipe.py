"""Recipes: an engine gets to another process without its key, or is refused."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from qwen3_ascend_retrievers import CachedEngine, CascadeEngine, LocalEngine, RemoteEngine
from qwen3_ascend_retrievers.errors import InvalidInputError
from qwen3_ascend_retrievers.testing import FakeEngine
from qwen3_ascend_retrievers.tools.bulk.recipe import engine_of, recipe_of
from support.odd_engines import Foreign

URL = "http://npu-host:8000"


@pytest.mark.parametrize(
    "engine",
    [
        FakeEngine(),
        LocalEngine("tiny"),
        RemoteEngine(URL),
        CascadeEngine([FakeEngine(), LocalEngine("tiny")]),
        CachedEngine(LocalEngine("tiny")),
    ],
    ids=lambda engine: type(engine).__name__,
)
def test_an_engine_of_this_package_is_written_down(engine: Any) -> None:
    recipe = pickle.loads(pickle.dumps(recipe_of(engine)))
    copy = engine_of(recipe)
    assert type(copy) is type(engine)
    assert recipe_of(copy) == recipe == recipe_of(recipe)


def test_a_function_is_called_where_the_engine_is_needed() -> None:
    engine = Foreign()
    assert engine_of(recipe_of(lambda: engine)) is engine


@pytest.mark.parametrize("engine", [None, "tiny", 5, Foreign()])
def test_what_is_no_engine_is_refused(engine: Any) -> None:
    with pytest.raises(InvalidInputError, match="engine must be an engine of this package"):
        recipe_of(engine)


@pytest.mark.parametrize("config", [{}, {"engine": "nothing"}, {"engine": "local", "mode": 1}])
def test_a_wrong_written_form_is_refused_at_once(config: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="config"):
        recipe_of(config)


def test_a_function_must_make_an_engine() -> None:
    with pytest.raises(InvalidInputError, match="engine must be an engine object"):
        engine_of(recipe_of(lambda: "tiny"))


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"api_key": "sesame"}, "api_key"),
        ({"headers": {"X-Key": "sesame"}}, "headers"),
        ({"api_key": "sesame", "headers": {"X-Key": "sesame"}}, "api_key and headers"),
    ],
)
def test_a_key_that_would_be_lost_is_an_error_that_does_not_tell_it(
    options: dict[str, Any], names: str
) -> None:
    engine = RemoteEngine(URL, **options)
    wrapped = (CascadeEngine([FakeEngine(), engine]), CachedEngine(engine, cache_namespace="a"))
    for holder in (engine, *wrapped):
        with pytest.raises(InvalidInputError, match=f"has {names}, which") as caught:
            recipe_of(holder)
        assert "sesame" not in str(caught.value)


def test_a_key_from_the_environment_is_expected_there_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWEN3_RERANK_API_KEY", "sesame")
    assert "sesame" not in str(recipe_of(RemoteEngine(URL)))
