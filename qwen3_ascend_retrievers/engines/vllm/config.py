"""VLLMEngine's arguments, checked. Values only; nothing is looked up here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from ...errors import InvalidInputError
from ...settings import check_choice, text_or_path, whole_number
from .checkpoint import SOURCES

VLLM_DTYPES: Final = ("auto", "float32", "bfloat16", "float16")
# vLLM's arguments that `vllm_args` may not hold, and the VLLMEngine argument that sets each.
_RESERVED: Final = {
    "model": "model", "tokenizer": "model", "revision": "revision", "runner": "nothing",
    "task": "nothing", "convert": "nothing", "hf_overrides": "nothing", "pooler_config": "nothing",
    "override_pooler_config": "nothing", "max_model_len": "max_length", "dtype": "dtype",
    "tensor_parallel_size": "tensor_parallel_size", "gpu_memory_utilization": "device_memory",
    "enforce_eager": "enforce_eager", "enable_prefix_caching": "prefix_caching",
    "quantization": "quantization", "enable_lora": "lora", "skip_tokenizer_init": "nothing",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class VLLMConfig:
    """VLLMEngine's arguments; see there.

    Raises:
        InvalidInputError: one is of the wrong type or out of range.
    """

    model: str
    dtype: str = "auto"
    max_length: int | None = None
    tensor_parallel_size: int = 1
    device_memory: float | None = None
    revision: str | None = None
    enforce_eager: bool | None = None
    prefix_caching: bool | Literal["auto"] = "auto"
    quantization: str | None = None
    lora: str | None = None
    source: str = "auto"
    self_check: bool = True
    vllm_args: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("model", "revision", "quantization", "lora"):
            value = getattr(self, name)
            if name == "model" or value is not None:
                object.__setattr__(self, name, text_or_path(name, value))
        check_choice("dtype", self.dtype, VLLM_DTYPES)
        check_choice("source", self.source, SOURCES)
        if self.max_length is not None:
            whole_number("max_length", self.max_length, minimum=1)
        whole_number("tensor_parallel_size", self.tensor_parallel_size, minimum=1)
        _check_device_memory(self.device_memory)
        if not isinstance(self.prefix_caching, bool) and self.prefix_caching != "auto":
            raise InvalidInputError(
                f'prefix_caching must be True, False or "auto", not {self.prefix_caching!r}.'
            )
        for name, kinds in (("enforce_eager", (bool, type(None))), ("self_check", (bool,))):
            if not isinstance(getattr(self, name), kinds):
                raise InvalidInputError(f"{name} must be True or False.")
        object.__setattr__(self, "vllm_args", _checked_vllm_args(self.vllm_args))

    def config(self) -> dict[str, Any]:
        """JSON-safe constructor arguments."""
        return asdict(self)


def _check_device_memory(value: Any) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (is_number and 0 < value <= 1):
        raise InvalidInputError(
            f"device_memory must be a share of the device's memory above 0 and up to 1, or None, "
            f"not {value!r}."
        )


def _checked_vllm_args(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise InvalidInputError("vllm_args must map names of vLLM's engine arguments to values.")
    for name in value:
        if name in _RESERVED:
            argument = _RESERVED[name]
            raise InvalidInputError(
                f"vllm_args: {name!r} "
                + (
                    "decides what a score is, and is set by the engine."
                    if argument == "nothing"
                    else f"is set with VLLMEngine(..., {argument}=...)."
                )
            )
    try:
        return dict(json.loads(json.dumps(dict(value))))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"vllm_args must hold what JSON can write, so that the engine can be pickled: {error}"
        ) from error
