"""VLLMEngine: the engine's face. What it does is in the modules that it puts together."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ...core.plan import Plan
from ...core.ranking import Score
from ...core.tokens import Encoding
from ...models.fingerprint import scoring_fingerprint
from ...models.weight_files import file_stamps
from ..base import Call, EngineFacts
from ..configured import Configured
from .config import VLLMConfig
from .host import ModelHost
from .launch import interrupt
from .startup import LoadedModel, load_vllm_model, unload


class VLLMEngine(Configured):
    """Runs Qwen3-Reranker in this process with vLLM: on an Ascend NPU, CUDA, or the CPU.

    The model is loaded at first use, in worker processes. Threads and event loops may share an
    engine; vLLM batches what they ask together. `close()`, a `with` block around the Reranker, or
    the end of the program ends the workers. A script needs `if __name__ == "__main__":`.

    Args:
        model: a hub id, a folder, or "tiny" for the bundled model. The original checkpoint
            (Qwen3ForCausalLM) or a converted one (Qwen3ForSequenceClassification, one label). A
            folder is only read.
        dtype: "float32", "bfloat16", "float16", or "auto", the checkpoint's own.
        max_length: tokens of a whole prompt, at least 1; the model's own maximum if that is less.
            None is 8,192, or 2,048 on an Atlas 300I DUO.
        tensor_parallel_size: over how many NPUs or GPUs the model is spread, at least 1.
        device_memory: share of each device's memory that vLLM may use, above 0 and up to 1; None
            leaves it to vLLM (0.9), and on a CPU to VLLM_CPU_KVCACHE_SPACE (GiB, 4 if unset).
        revision: branch, tag or commit of a hub id.
        enforce_eager: True compiles no graphs: a quicker start, slower scores. None lets vLLM
            choose.
        prefix_caching: whether documents share the query's part of the computation. "auto" is on
            but where it is known to give wrong scores (vllm-ascend 0.12.0rc1 to before 0.18.0).
        quantization: vLLM's name of it, such as "ascend" or "fp8".
        lora: folder of a LoRA adapter in PEFT's format.
        source: "huggingface", "modelscope", or "auto": ModelScope if VLLM_USE_MODELSCOPE is set.
        self_check: whether to compare logits with and without caches after loading.
        vllm_args: more arguments of vLLM's engine, what JSON can write; they win over this
            engine's table (settings.py).

    Raises:
        InvalidInputError: an argument of the wrong type or out of range.
    """

    tag = "vllm"

    def __init__(
        self,
        model: str,
        dtype: str = "auto",
        max_length: int | None = None,
        tensor_parallel_size: int = 1,
        device_memory: float | None = None,
        revision: str | None = None,
        enforce_eager: bool | None = None,
        prefix_caching: bool | Literal["auto"] = "auto",
        quantization: str | None = None,
        lora: str | None = None,
        source: str = "auto",
        self_check: bool = True,
        vllm_args: Mapping[str, Any] | None = None,
    ) -> None:
        self._config = VLLMConfig(
            model=model,
            dtype=dtype,
            max_length=max_length,
            tensor_parallel_size=tensor_parallel_size,
            device_memory=device_memory,
            revision=revision,
            enforce_eager=enforce_eager,
            prefix_caching=prefix_caching,
            quantization=quantization,
            lora=lora,
            source=source,
            self_check=self_check,
            vllm_args=vllm_args or {},
        )
        config = self._config
        self._host = ModelHost(partial(load_vllm_model, config), unload, partial(interrupt, config))
        self._finalizer = weakref.finalize(self, self._host.stop)

    @property
    def self_check(self) -> Literal["passed", "not exercised", "off"] | None:
        """How the numeric self-check after loading ended; None while nothing is loaded."""
        loaded = self._host.loaded
        return None if loaded is None else loaded.self_check

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return self._config.config()

    def facts(self) -> EngineFacts:
        """The model's facts; loads it at first use.

        Raises:
            MissingDependencyError: vllm, or vllm-ascend on an NPU, is not installed, or vllm is of
                a version that is not supported.
            ModelError: the checkpoint is missing, incomplete, or no Qwen3 reranker.
            EngineError: vLLM does not start, or the self-check failed.
            EngineClosedError: the engine was closed.
        """
        return self._facts(self._host.run(_itself))

    async def afacts(self) -> EngineFacts:
        """The same without blocking the event loop."""
        return self._facts(await self._host.arun(_itself))

    def fingerprint(self) -> str:
        """What a score depends on besides its prompt, for caches; loads the model at first use."""
        loaded, config = self._host.run(_itself), self._config
        return scoring_fingerprint(
            loaded.checkpoint,
            engine=self.tag,
            device=loaded.vllm.device(),
            dtype=config.dtype,
            quantization=config.quantization,
            lora=config.lora and [config.lora, file_stamps(Path(config.lora))],
            vllm_args=dict(config.vllm_args),
        )

    def encode(self, texts: Sequence[str]) -> Sequence[Encoding]:
        """Tokens of prompt parts."""
        return self._host.run(_itself).tokenizer.encode_batch(texts)

    async def aencode(self, texts: Sequence[str]) -> Sequence[Encoding]:
        """The same without blocking the event loop."""
        tokenizer = (await self._host.arun(_itself)).tokenizer
        return await asyncio.to_thread(tokenizer.encode_batch, texts)

    def score(self, plan: Plan, call: Call) -> list[Score]:
        """One score for each passage of a plan that has token ids.

        Raises:
            RerankCancelled: the caller asked to stop; the requests of this call were aborted.
            ScoreError: the model computed something that is no number.
            EngineClosedError: vLLM's workers died.
            EngineError: vLLM failed.
        """
        return self._host.run(_scoring(plan, call))

    async def ascore(self, plan: Plan, call: Call) -> list[Score]:
        """The same without blocking the event loop."""
        return await self._host.arun(_scoring(plan, call))

    def close(self) -> None:
        """Abort what runs, and end vLLM's processes. Safe to call twice."""
        self._finalizer()

    def _facts(self, loaded: LoadedModel) -> EngineFacts:
        details = {"vllm": str(loaded.vllm.version), "device": loaded.vllm.device()}
        return EngineFacts(model=self._config.model, max_length=loaded.max_length, details=details)


async def _itself(loaded: LoadedModel) -> LoadedModel:
    return loaded


def _scoring(plan: Plan, call: Call) -> Any:
    def work(loaded: LoadedModel) -> Coroutine[Any, Any, list[Score]]:
        return loaded.requests.score(plan, call)

    return work
