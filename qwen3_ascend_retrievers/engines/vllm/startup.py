"""From VLLMEngine's arguments to a loaded model: find, decide, start, check.

Runs in the host's loop.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

from ...core.tokens import Tokenizer
from ...errors import ModelError
from ...models.check import checked_tokenizer
from ...models.checkpoint import Checkpoint
from ...models.files import warn_if_tiny
from ...models.tokenizer import answer_ids
from ...settings import environment
from .checkpoint import check_shards, fetch_checkpoint, lora_rank
from .compat import ORIGINAL, Vllm, installed_vllm
from .config import VLLMConfig
from .launch import SHUTDOWN_SECONDS, launch, starting_for
from .logs import startup_environment
from .main_guard import check_main, check_start
from .platform import Platform, check_vllm_device, detect_platform
from .platform_facts import PlatformFacts
from .processes import Workers
from .scoring import Requests
from .self_check import ComputeLogits, Prompt, PromptLogit, Sizes, self_check
from .submission import SubmissionQueue
from .tuning import decide
from .version import parse_version

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """What a VLLMEngine holds once it is loaded.

    Attributes:
        checkpoint: what was loaded.
        tokenizer: the checkpoint's own.
        max_length: tokens of the longest prompt.
        requests: sends prompts to vLLM.
        vllm: the installed version.
        engine: its async engine.
        workers: vLLM's processes.
        self_check: how the numeric self-check ended.
    """

    checkpoint: Checkpoint
    tokenizer: Tokenizer
    max_length: int
    requests: Requests
    vllm: Vllm
    engine: Any
    workers: Workers
    self_check: Literal["passed", "not exercised", "off"] = "off"


async def load_vllm_model(config: VLLMConfig) -> LoadedModel:
    """Find, check and load a checkpoint, and test the engine's arithmetic.

    Raises:
        MissingDependencyError: vllm or vllm-ascend is not installed, or of an unsupported version.
        ModelError: the checkpoint cannot be used.
        EngineError: vLLM does not start, or computes wrongly.
        InvalidInputError: vLLM does not know an argument.
    """
    check_start()
    check_main(environment("VLLM_WORKER_MULTIPROC_METHOD"))
    warn_if_tiny(config.model)
    with starting_for(config):
        loaded = _start(config)
    try:
        await _check_task(loaded)
        if not config.self_check:
            return loaded
        result = await self_check(
            logits_function(loaded.vllm, loaded.requests), loaded.tokenizer, _sizes(loaded)
        )
    except BaseException:
        unload(loaded)
        raise
    logger.info("%s is loaded; numeric self-check: %s.", config.model, result)
    return replace(loaded, self_check=result)


def unload(loaded: LoadedModel) -> None:
    """End vLLM and all its processes."""
    try:
        loaded.vllm.stop(loaded.engine)
    finally:
        loaded.workers.end(SHUTDOWN_SECONDS)


def _start(config: VLLMConfig) -> LoadedModel:
    platform = detect_platform()
    facts = _platform_facts(config, platform)
    _, variables = decide(facts)
    with startup_environment(variables) as log:
        # In a thread of its own: an imported module keeps a traceback, and with it every frame
        # below, in which the engine would live on after its end.
        with ThreadPoolExecutor(1) as importing:
            vllm = importing.submit(installed_vllm).result()
        checkpoint = fetch_checkpoint(config.model, config.revision, config.source)
        tokenizer = checked_tokenizer(checkpoint)
        check_shards(checkpoint, answer_ids(tokenizer), config.tensor_parallel_size)
        device = vllm.device()
        check_vllm_device(platform, device)
        logger.info("vLLM %s runs on %s: %s.", vllm.version, device, platform.why)
        arguments, _ = decide(replace(facts, device=device))
        arguments["max_model_len"] = min(arguments["max_model_len"], checkpoint.max_positions)
        defaults = {**_checkpoint_arguments(config, checkpoint), **arguments}
        engine_args = vllm.arguments(defaults, config.vllm_args)
        engine, workers = launch(vllm, engine_args, log, config.model, config.vllm_args)
    lora = None if config.lora is None else vllm.lora(config.lora)
    requests = Requests(vllm, engine, lora, _submission_queue(engine))
    length = arguments["max_model_len"]
    return LoadedModel(checkpoint, tokenizer, length, requests, vllm, engine, workers)


def _platform_facts(config: VLLMConfig, platform: Platform) -> PlatformFacts:
    return PlatformFacts(
        device=platform.device,
        ascend=None if platform.ascend is None else parse_version(platform.ascend),
        chip=platform.chip,
        prefix_caching=config.prefix_caching,
        max_length=config.max_length,
        device_memory=config.device_memory,
        enforce_eager=config.enforce_eager,
        dtype=config.dtype,
        start_method=environment("VLLM_WORKER_MULTIPROC_METHOD"),
        cpu_cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
    )


def _checkpoint_arguments(config: VLLMConfig, checkpoint: Checkpoint) -> dict[str, Any]:
    """Arguments that no row of the table decides."""
    arguments: dict[str, Any] = {
        "model": str(checkpoint.folder),
        "served_model_name": config.model,
        "tensor_parallel_size": config.tensor_parallel_size,
        "dtype": config.dtype,
    }
    if checkpoint.kind == "original":
        arguments["hf_overrides"] = dict(ORIGINAL)
    if config.quantization is not None:
        arguments["quantization"] = config.quantization
    if config.lora is not None:
        arguments |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": lora_rank(config.lora)}
    return arguments


async def _check_task(loaded: LoadedModel) -> None:
    """Raise ModelError where vLLM would compare embeddings instead of reranking."""
    tasks = await loaded.vllm.tasks(loaded.engine)
    if tasks is not None and not {"classify", "score"} & set(tasks):
        raise ModelError(
            f"vLLM loaded {loaded.checkpoint.model} for {', '.join(tasks)}, not for scoring. Its "
            "config.json must name Qwen3ForCausalLM or Qwen3ForSequenceClassification."
        )


def _submission_queue(engine: Any) -> SubmissionQueue:
    scheduler = engine.vllm_config.scheduler_config
    return SubmissionQueue(
        scheduler.max_num_batched_tokens, scheduler.max_num_seqs, _cache_block(engine)
    )


def _cache_block(engine: Any) -> int | None:
    """Tokens of a block of the prefix cache; None if it is off."""
    cache = engine.vllm_config.cache_config
    return int(cache.block_size) if cache.enable_prefix_caching else None


def _sizes(loaded: LoadedModel) -> Sizes:
    config = loaded.engine.vllm_config
    scheduler = config.scheduler_config
    return Sizes(
        block=_cache_block(loaded.engine),
        step=scheduler.max_num_batched_tokens if scheduler.enable_chunked_prefill else None,
        prompts=scheduler.max_num_seqs,
        length=loaded.max_length,
        half="32" not in str(config.model_config.dtype),
    )


def logits_function(vllm: Vllm, requests: Requests) -> ComputeLogits:
    """The self-check's way to logits, also from a vLLM that gives probabilities."""

    async def compute(prompts: Sequence[Prompt]) -> list[PromptLogit]:
        outputs = await asyncio.gather(
            *(requests.score_prompt(prompt.ids, prompt.salt) for prompt in prompts)
        )
        return [
            PromptLogit(
                output.value if vllm.gives_logits else _logit_of(output.value), output.cached or 0
            )
            for output in outputs
        ]

    return compute


def _logit_of(probability: float) -> float:
    clamped = min(max(probability, 1e-7), 1 - 1e-7)
    return math.log(clamped / (1 - clamped))
