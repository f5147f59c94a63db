"""Settings refuse what they cannot mean, and read the environment in one place."""

from __future__ import annotations

import dataclasses
import inspect
import math
from typing import Any

import pytest

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.errors import InvalidInputError
from qwen3_ascend_retrievers.settings import (
    SETTINGS,
    RerankSettings,
    api_key_from_environment,
    environment,
    flag,
)


def test_the_defaults() -> None:
    settings = RerankSettings()
    assert (
        settings.instruction,
        settings.top_n,
        settings.score_threshold,
        settings.max_length,
    ) == (None,) * 4
    assert (settings.overflow, settings.window_overlap, settings.on_error) == (
        "truncate",
        64,
        "raise",
    )


def test_settings_are_frozen_and_by_name() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RerankSettings().top_n = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        RerankSettings("instruction")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "good",
    [
        {"instruction": "Find cats", "top_n": 1, "max_length": 1, "window_overlap": 0},
        {"score_threshold": 0, "overflow": "window", "on_error": "keep_order"},
        {"score_threshold": 1.0, "overflow": "error"},
    ],
)
def test_good_values_stay(good: dict[str, Any]) -> None:
    settings = RerankSettings(**good)
    assert {name: getattr(settings, name) for name in good} == good


BAD: list[tuple[str, Any, str]] = [
    *(("instruction", wrong, "instruction must be") for wrong in ("", " \n", 3, b"x", ["x"])),
    ("top_n", 0, "would drop every document"),
    *(("top_n", wrong, "top_n must be") for wrong in (-1, 1.5, True, False, "3", math.nan)),
    *(
        ("score_threshold", wrong, "score_threshold must be")
        for wrong in (-0.1, 1.1, math.nan, math.inf, True, "0.5", 10**400)
    ),
    *(("overflow", wrong, "overflow must be one of") for wrong in ("cut", "", None, ["error"])),
    *(("on_error", wrong, "on_error must be one of") for wrong in ("ignore", None, True)),
    *(("max_length", wrong, "max_length must be") for wrong in (0, -1, 2.0, True, "8192")),
    *(("window_overlap", wrong, "window_overlap must be") for wrong in (-1, 0.5, False, None)),
]


@pytest.mark.parametrize(("name", "wrong", "message"), BAD)
def test_bad_values_are_named(name: str, wrong: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        RerankSettings(**{name: wrong})


@pytest.mark.parametrize("name", ["score_threshold", "top_n", "max_length"])
def test_a_number_that_python_does_not_print_is_refused_all_the_same(name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{name} must be "):
        RerankSettings(**{name: -(10**5000)})


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QWEN3_RERANK_X", raising=False)
    assert environment("QWEN3_RERANK_X") is None
    assert not flag("QWEN3_RERANK_X")
    for value, text, yes in [
        ("  ", None, False),
        (" a b ", "a b", False),
        ("0", "0", False),
        ("no", "no", False),
        ("1", "1", True),
        ("TRUE", "TRUE", True),
        (" Yes ", "Yes", True),
        ("on", "on", True),
    ]:
        monkeypatch.setenv("QWEN3_RERANK_X", value)
        assert environment("QWEN3_RERANK_X") == text
        assert flag("QWEN3_RERANK_X") is yes


def test_the_key_is_read_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert api_key_from_environment() is None
    monkeypatch.setenv("QWEN3_RERANK_API_KEY", " sk-1\n")
    assert api_key_from_environment() == "sk-1"


def test_the_reranker_takes_every_setting_with_its_default() -> None:
    parameters = inspect.signature(Reranker).parameters
    defaults = {name: parameters[name].default for name in SETTINGS}
    assert defaults == dataclasses.asdict(RerankSettings())
