"""What the table of settings looks at, and the questions that it asks of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from .release import Version

DEFAULT_LENGTH: Final = 8192
LENGTH_310P: Final = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What the table looks at.

    Attributes:
        device: what vLLM runs on: "npu", "cuda", "cpu", or another of vLLM's names.
        ascend: vllm-ascend's version on an NPU; else None.
        chip: "310P" or None.
        prefix_caching: the caller's wish.
        max_length: the caller's wish in tokens, or None.
        device_memory: the caller's wish, a share of the device's memory, or None.
        enforce_eager: the caller's wish, or None.
        dtype: the caller's wish.
        start_method: VLLM_WORKER_MULTIPROC_METHOD as the caller has set it, or None.
    """

    device: str
    ascend: Version | None = None
    chip: str | None = None
    prefix_caching: bool | Literal["auto"] = "auto"
    max_length: int | None = None
    device_memory: float | None = None
    enforce_eager: bool | None = None
    dtype: str = "auto"
    start_method: str | None = None


def on_cpu(one: Situation) -> bool:
    """Whether vLLM runs on the CPU."""
    return one.device == "cpu"


def on_npu(one: Situation) -> bool:
    """Whether vLLM runs on an Ascend NPU."""
    return one.device == "npu"


def on_310p(one: Situation) -> bool:
    """Whether that is an Atlas 300I DUO or another card with the 310P."""
    return on_npu(one) and one.chip == "310P"


def has_wrong_cache(one: Situation) -> bool:
    """vllm-ascend 0.12.0rc1 to before 0.18.0; its release candidates are not trusted either."""
    if not on_npu(one) or one.ascend is None:
        return False
    return (0, 12, 0) <= one.ascend.release < (0, 18, 0) or (
        one.ascend.release == (0, 18, 0) and one.ascend.pre
    )


def length_of(one: Situation) -> int:
    """Tokens of the longest prompt, before the model's own maximum is looked at."""
    if one.max_length is not None:
        return one.max_length
    return LENGTH_310P if on_310p(one) else DEFAULT_LENGTH
