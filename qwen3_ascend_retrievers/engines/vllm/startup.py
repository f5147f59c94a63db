"""From options to a loaded model: find, decide, start, check. Runs in the host's loop."""

from __future__ import annotations

import asyncio
import logging
import math
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
from .checkpoint import check_shards, find_model, lora_rank
from .compat import ORIGINAL, Vllm, installed_vllm
from .config import Options
from .launch import PATIENCE, launch, starting_for
from .logs import starting
from .main_guard import check_main, check_start
from .platform import Platform, check_device, detect_platform
from .processes import Workers
from .release import parse_version
from .scoring import Requests
from .self_check import Answer, Ask, Prompt, Sizes, self_check
from .situation import Situation
from .submission import Turns
from .tuning import decide

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


async def load_model(options: Options) -> LoadedModel:
    """Find, check and load a checkpoint, and test the engine's arithmetic.

    Raises:
        MissingDependencyError: vllm or vllm-ascend is not installed, or of an unsupported version.
        ModelError: the checkpoint cannot be used.
        EngineError: vLLM does not start, or computes wrongly.
        InvalidInputError: vLLM does not know an argument.
    """
    check_start()
    check_main(environment("VLLM_WORKER_MULTIPROC_METHOD"))
    warn_if_tiny(options.model)
    with starting_for(options):
        loaded = _started(options)
    try:
        await _check_task(loaded)
        if not options.self_check:
            return loaded
        outcome = await self_check(
            asking(loaded.vllm, loaded.requests), loaded.tokenizer, _sizes(loaded)
        )
    except BaseException:
        unload(loaded)
        raise
    logger.info("%s is loaded; numeric self-check: %s.", options.model, outcome)
    return replace(loaded, self_check=outcome)


def unload(loaded: LoadedModel) -> None:
    """End vLLM and all its processes."""
    try:
        loaded.vllm.stop(loaded.engine)
    finally:
        loaded.workers.end(PATIENCE)


def _started(options: Options) -> LoadedModel:
    platform = detect_platform()
    situation = _situation(options, platform)
    _, variables = decide(situation)
    with starting(variables) as noted:
        # In a thread of its own: what is imported keeps a traceback, and with it every frame
        # below, in which the engine would live on after its end.
        with ThreadPoolExecutor(1) as importing:
            vllm = importing.submit(installed_vllm).result()
        checkpoint = find_model(options.model, options.revision, options.source)
        tokenizer = checked_tokenizer(checkpoint)
        check_shards(checkpoint, answer_ids(tokenizer), options.tensor_parallel_size)
        device = vllm.device()
        check_device(platform, device)
        logger.info("vLLM %s runs on %s: %s.", vllm.version, device, platform.why)
        arguments, _ = decide(replace(situation, device=device))
        arguments["max_model_len"] = min(arguments["max_model_len"], checkpoint.max_positions)
        made = vllm.arguments({**_own(options, checkpoint), **arguments}, options.vllm_args)
        engine, workers = launch(vllm, made, noted, options.model, options.vllm_args)
    lora = None if options.lora is None else vllm.lora(options.lora)
    requests = Requests(vllm, engine, lora, _turns(engine))
    length = arguments["max_model_len"]
    return LoadedModel(checkpoint, tokenizer, length, requests, vllm, engine, workers)


def _situation(options: Options, platform: Platform) -> Situation:
    return Situation(
        device=platform.device,
        ascend=None if platform.ascend is None else parse_version(platform.ascend),
        chip=platform.chip,
        prefix_caching=options.prefix_caching,
        max_length=options.max_length,
        device_memory=options.device_memory,
        enforce_eager=options.enforce_eager,
        dtype=options.dtype,
        start_method=environment("VLLM_WORKER_MULTIPROC_METHOD"),
    )


def _own(options: Options, checkpoint: Checkpoint) -> dict[str, Any]:
    """Arguments that no row of the table decides."""
    made: dict[str, Any] = {
        "model": str(checkpoint.folder),
        "served_model_name": options.model,
        "tensor_parallel_size": options.tensor_parallel_size,
        "dtype": options.dtype,
    }
    if checkpoint.kind == "original":
        made["hf_overrides"] = dict(ORIGINAL)
    if options.quantization is not None:
        made["quantization"] = options.quantization
    if options.lora is not None:
        made |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": lora_rank(options.lora)}
    return made


async def _check_task(loaded: LoadedModel) -> None:
    """Raise ModelError where vLLM would compare embeddings instead of reranking."""
    tasks = await loaded.vllm.tasks(loaded.engine)
    if tasks is not None and not {"classify", "score"} & set(tasks):
        raise ModelError(
            f"vLLM loaded {loaded.checkpoint.model} for {', '.join(tasks)}, not for scoring. Its "
            "config.json must name Qwen3ForCausalLM or Qwen3ForSequenceClassification."
        )


def _turns(engine: Any) -> Turns:
    scheduler = engine.vllm_config.scheduler_config
    return Turns(scheduler.max_num_batched_tokens, scheduler.max_num_seqs, _block(engine))


def _block(engine: Any) -> int | None:
    """Tokens of a block of the prefix cache; None if it is off."""
    cache = engine.vllm_config.cache_config
    return int(cache.block_size) if cache.enable_prefix_caching else None


def _sizes(loaded: LoadedModel) -> Sizes:
    config = loaded.engine.vllm_config
    scheduler = config.scheduler_config
    return Sizes(
        block=_block(loaded.engine),
        step=scheduler.max_num_batched_tokens if scheduler.enable_chunked_prefill else None,
        prompts=scheduler.max_num_seqs,
        length=loaded.max_length,
        half="32" not in str(config.model_config.dtype),
    )


def asking(vllm: Vllm, requests: Requests) -> Ask:
    """What the self-check asks with: logits, also from a vLLM that gives probabilities."""

    async def ask(prompts: Sequence[Prompt]) -> list[Answer]:
        replies = await asyncio.gather(*(requests.one(one.ids, one.salt) for one in prompts))
        value = _itself if vllm.gives_logits else _logit
        return [Answer(value(one.value), one.cached or 0) for one in replies]

    return ask


def _itself(value: float) -> float:
    return value


def _logit(probability: float) -> float:
    kept = min(max(probability, 1e-7), 1 - 1e-7)
    return math.log(kept / (1 - kept))
