"""A wrong value in `vllm_args` is named. The class of arguments stands in for vLLM's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pytest

from qwen3_ascend_retrievers.engines.vllm.arguments import argument_error, check_types
from qwen3_ascend_retrievers.errors import InvalidInputError

if TYPE_CHECKING:
    from nowhere import Unresolved


@dataclass
class Nested:
    level: int = 0


@dataclass
class Parent:
    max_num_seqs: int | None = None
    share: float = 0.9


@dataclass
class Arguments(Parent):
    kv_cache_dtype: Literal["auto", "fp8"] = "auto"
    compilation_config: Nested = field(default_factory=Nested)
    unknown: Unresolved | None = None


@pytest.mark.parametrize(
    "extra",
    [
        {"max_num_seqs": 8, "share": 1},
        {"max_num_seqs": None},
        {"kv_cache_dtype": "fp8", "compilation_config": {"level": 3}},
        {"unknown": object(), "no_such_field": 1},
        {},
    ],
)
def test_right_values(extra: dict[str, Any]) -> None:
    check_types(Arguments, extra)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_num_seqs", "abc"),
        ("max_num_seqs", "8"),
        ("max_num_seqs", True),
        ("max_num_seqs", [1]),
        ("share", "half"),
        ("kv_cache_dtype", "float99"),
        ("compilation_config", 3),
        ("compilation_config", {"level": "high"}),
    ],
)
def test_wrong_values_are_named(name: str, value: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"vllm_args: vLLM does not take {name}="):
        check_types(Arguments, {"share": 0.5, name: value})


def create_engine_config(message: str) -> None:
    raise ValueError(message)


def failure(message: str) -> Exception:
    try:
        create_engine_config(message)
    except ValueError as error:
        return error
    raise AssertionError


def test_what_vllm_refuses_is_named_if_it_says_so() -> None:
    extra = {"share": 0.5, "block_size": 7}
    refusal = argument_error(failure("The block size must be\na multiple of 16"), None, extra)
    assert "vLLM does not take block_size=7: The block size must be a multiple" in str(refusal)
    assert argument_error(failure("something else"), "ValueError: block_size", extra) is None
    failed = RuntimeError("Engine core initialization failed")
    refusal = argument_error(failed, "ValueError: No common block size for 7 (worker.py)", extra)
    assert "vLLM does not take block_size=7: ValueError: No common" in str(refusal)
    for cause in (
        None,
        "RuntimeError: block_size",
        "ValueError: memory is short, lower block_size",
    ):
        assert argument_error(failed, cause, extra) is None
