"""The facts that the table of settings (tuning.py) depends on, and its conditions. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from .version import Version

DEFAULT_LENGTH: Final = 8192
LENGTH_310P: Final = 2048
_FEW_CORES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformFacts:
    """The device and the caller's settings, as far as the table depends on them.

    Attributes:
        device: what vLLM runs on: "npu", "cuda", "cpu", or another of vLLM's names.
        ascend: vllm-ascend's version on an NPU; else None.
        chip: "310P" or None.
        prefix_caching: the caller's setting.
        max_length: the caller's setting in tokens, or None.
        device_memory: the caller's setting, a share of the device's memory, or None.
        enforce_eager: the caller's setting, or None.
        dtype: the caller's setting.
        start_method: VLLM_WORKER_MULTIPROC_METHOD as the caller has set it, or None.
        cpu_cores: those that this process may use; None if vLLM will run elsewhere.
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
    cpu_cores: int | None = None


def on_cpu(facts: PlatformFacts) -> bool:
    """Whether vLLM runs on the CPU."""
    return facts.device == "cpu"


def has_few_cores(facts: PlatformFacts) -> bool:
    """Whether a core that vLLM leaves free is a good part of the CPU that it runs on."""
    return on_cpu(facts) and facts.cpu_cores is not None and facts.cpu_cores <= _FEW_CORES


def on_npu(facts: PlatformFacts) -> bool:
    """Whether vLLM runs on an Ascend NPU."""
    return facts.device == "npu"


def on_310p(facts: PlatformFacts) -> bool:
    """Whether that is an Atlas 300I DUO or another card with the 310P."""
    return on_npu(facts) and facts.chip == "310P"


def has_wrong_cache(facts: PlatformFacts) -> bool:
    """vllm-ascend 0.12.0rc1 to before 0.18.0; its release candidates are not trusted either."""
    if not on_npu(facts) or facts.ascend is None:
        return False
    return (0, 12, 0) <= facts.ascend.release < (0, 18, 0) or (
        facts.ascend.release == (0, 18, 0) and facts.ascend.is_prerelease
    )


def prompt_limit(facts: PlatformFacts) -> int:
    """Tokens of the longest prompt, before the model's own maximum is considered."""
    if facts.max_length is not None:
        return facts.max_length
    return LENGTH_310P if on_310p(facts) else DEFAULT_LENGTH
