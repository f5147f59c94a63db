"""Which settings vLLM gets on which platform, and why: one table of values, which sets nothing.

[C] is read in that version's code, [V] was observed on vLLM's CPU build, [I] is an issue. No row
was tried on an NPU by this project.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from ...errors import EngineError
from .platform_facts import (
    PlatformFacts,
    has_few_cores,
    has_wrong_cache,
    on_310p,
    on_cpu,
    on_npu,
    prompt_limit,
)


@dataclass(frozen=True, slots=True)
class Row:
    """One decision.

    Attributes:
        condition: when it holds, in words.
        holds: the same as a function.
        kind: an "argument" of vLLM's engine, or a variable of the "environment" in which its
            processes start; a variable that the caller has set stays as it is.
        name: of the argument or variable.
        value: its value, or a function of the facts that returns it.
        reason: why.
        source: the evidence for the reason.
    """

    condition: str
    holds: Callable[[PlatformFacts], bool]
    kind: Literal["argument", "environment"]
    name: str
    value: Any
    reason: str
    source: str


def _always(_: PlatformFacts) -> bool:
    return True


def _is_set(name: str) -> Callable[[PlatformFacts], bool]:
    return lambda facts: getattr(facts, name) is not None


def _setting(name: str) -> Callable[[PlatformFacts], Any]:
    return lambda facts: getattr(facts, name)


_WRONG_CACHE: Final = "vllm-ascend 0.12.0rc1 to before 0.18.0"
_ASCEND_FIX: Final = "[I] vllm-ascend #7145, #7192; fixed by #7452 and #7894 in 0.18.0"
_310P_CODE: Final = "[C] vllm-ascend 0.23.0, _310p; its guide for the Atlas 300I DUO"

# Later rows win. What the caller passes in `vllm_args` wins over all of them.
# fmt: off
ROWS: Final = (
    Row("always", _always, "environment", "VLLM_WORKER_MULTIPROC_METHOD", "spawn",
        "A forked worker breaks where torch.npu or CUDA was touched before, and a forked copy of "
        "a program with threads may hang.", "[I] vllm-ascend #4502"),
    Row("always", _always, "environment", "VLLM_NO_USAGE_STATS", "1",
        "A library does not send its user's statistics anywhere.", "[C] vLLM, usage/usage_lib.py"),
    Row("always", _always, "argument", "disable_log_stats", True,
        "Nobody reads the statistics, and they go to the log.", "[C] vLLM, v1/engine/async_llm.py"),
    Row("always", _always, "argument", "use_tqdm_on_load", False,
        "A library draws no unrequested progress bars.", "[V] vLLM 0.32.0"),
    Row("always", _always, "argument", "max_model_len", prompt_limit,
        "max_length, or 8,192, or 2,048 on a 310P. Else vLLM plans for the model's 40,960 "
        "positions, and a 310P's attention mask takes memory by the square of it.", _310P_CODE),
    Row("device_memory is set", _is_set("device_memory"), "argument", "gpu_memory_utilization",
        _setting("device_memory"), "The name is vLLM's, on NPU and CPU too.",
        "[C] vLLM, config/cache.py"),
    Row("enforce_eager is set", _is_set("enforce_eager"), "argument", "enforce_eager",
        _setting("enforce_eager"), "The caller's setting.", "[C] vLLM, config/model.py"),
    Row('prefix_caching is not "auto"', lambda facts: facts.prefix_caching != "auto", "argument",
        "enable_prefix_caching", _setting("prefix_caching"), "The caller's setting.",
        "[C] vLLM, config/cache.py"),
    Row('prefix_caching is "auto"', lambda facts: facts.prefix_caching == "auto", "argument",
        "enable_prefix_caching", True, "Documents of one query share its part of the prompt.",
        "[V] vLLM 0.32.0: 42 % of the tokens of 32 short documents were hits"),
    Row("CPU", on_cpu, "argument", "block_size", 32,
        "Only whole blocks are shared. A query part has about 80 tokens, so the CPU's default of "
        "128 rarely hits; 32 is the smallest that its attention takes.", "[V] vLLM 0.32.0"),
    Row("CPU, device_memory is not set",
        lambda facts: on_cpu(facts) and facts.device_memory is None,
        "environment", "VLLM_CPU_KVCACHE_SPACE", "4",
        "In GiB. Left alone, newer versions claim 92 % of the machine's memory and do not start "
        "where less is free.", "[C] vLLM 0.32.0, v1/worker/cpu_worker.py"),
    Row("CPU with at most 4 cores", has_few_cores, "environment", "VLLM_CPU_NUM_OF_RESERVED_CPU",
        "0", "vLLM keeps one core free, half of the machine where there are two: 2.0 times as fast "
        "there without.", "[V] vLLM 0.32.0, tests/benchmarks/workloads/vllm.py"),
    Row(_WRONG_CACHE, has_wrong_cache, "argument", "enable_prefix_caching", False,
        "A hit in the prefix cache gives silently wrong scores.", _ASCEND_FIX),
    Row(_WRONG_CACHE, has_wrong_cache, "argument", "enable_chunked_prefill", False,
        "A prompt that is computed in two pieces takes the same wrong path.", _ASCEND_FIX),
    Row(_WRONG_CACHE, has_wrong_cache, "argument", "max_num_batched_tokens",
        lambda facts: max(8192, prompt_limit(facts)),
        "Without chunks, the longest prompt must fit into one step.", _ASCEND_FIX),
    Row('Atlas 300I DUO (310P), dtype is "auto"',
        lambda facts: on_310p(facts) and facts.dtype == "auto",
        "argument", "dtype", "float16", "The chip has no bfloat16.", _310P_CODE),
    Row("Atlas 300I DUO (310P)", on_310p, "argument", "compilation_config",
        {"cudagraph_capture_sizes": [1024, 512]}, "Sizes of the captured graphs.", _310P_CODE),
    Row("Atlas 300I DUO (310P)", on_310p, "argument", "additional_config",
        {"ascend_compilation_config": {"fuse_norm_quant": False}},
        "The fused operator does not exist there.", _310P_CODE),
)
# fmt: on


def decide(facts: PlatformFacts) -> tuple[dict[str, Any], dict[str, str]]:
    """Arguments of vLLM's engine, and variables of the environment, for these facts.

    Raises:
        EngineError: the caller's settings give wrong scores or cannot work there.
    """
    _reject_settings(facts)
    settings: dict[str, dict[str, Any]] = {"argument": {}, "environment": {}}
    for row in ROWS:
        if row.holds(facts):
            value = row.value(facts) if callable(row.value) else row.value
            settings[row.kind][row.name] = value
    return settings["argument"], settings["environment"]


def _reject_settings(facts: PlatformFacts) -> None:
    if facts.prefix_caching is True and has_wrong_cache(facts):
        raise EngineError(
            f"prefix_caching=True gives wrong scores with vllm-ascend {facts.ascend} "
            '(vllm-ascend #7145). Use prefix_caching="auto", or vllm-ascend 0.18.0 or later.'
        )
    if on_310p(facts) and facts.dtype == "bfloat16":
        raise EngineError('The Atlas 300I DUO (310P) has no bfloat16. Use dtype="float16".')
    if on_npu(facts) and facts.start_method == "fork":
        raise EngineError(
            "VLLM_WORKER_MULTIPROC_METHOD=fork breaks vLLM's workers on an NPU (vllm-ascend "
            "#4502). Unset it, or set it to spawn."
        )
