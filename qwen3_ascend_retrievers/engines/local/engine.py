"""LocalEngine: the engine around the forward pass. One worker thread does all of torch's work."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from ..._util.locks import Lock
from ...core.plan import Plan
from ...core.ranking import Score
from ...core.steps import Steps, adrive, drive
from ...core.tokens import Encoding
from ...errors import EngineClosedError, EngineError, ScoreError
from ..base import Call, EngineFacts
from ..configured import Configured
from ..waiting import Callers, wait, wait_async
from .batches import plan_batches
from .config import LocalConfig
from .loading import LocalModel, load_local_model

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _NeedQueryCache:
    """What are the keys and values of a query part? Answered with the model's cache of them."""

    ids: Sequence[int]

    def answer(self, model: LocalModel) -> Any:
        return model.forward.cache_query(self.ids)


@dataclass(frozen=True, slots=True)
class _NeedLogits:
    """What are the logits of a batch? Answered with one for each row."""

    rows: Sequence[Sequence[int]]
    query_cache: Any

    def answer(self, model: LocalModel) -> list[float]:
        return model.forward.logits(self.rows, self.query_cache)


_Question = _NeedQueryCache | _NeedLogits


class LocalEngine(Configured):
    """Runs Qwen3-Reranker in this process with transformers and torch.

    The model is loaded at first use. Threads and event loops may share an engine: it takes their
    batches in turn. An engine that was used before the process forked is refused in the child.

    Args:
        model: a hub id, a folder, or "tiny" for the bundled model. The original checkpoint
            (Qwen3ForCausalLM) or a converted one (Qwen3ForSequenceClassification, one label).
        device: "auto", "cpu", "cuda", "npu" or "mps", optionally with a number such as "npu:1".
            "auto" takes the CPU only where there is no other.
        dtype: "float32", "bfloat16", "float16", or "auto": float32 on CPU and MPS, else bfloat16
            where the device has it.
        max_length: tokens of a whole prompt, at least 1; the model's own maximum if that is less.
        batch_tokens: prompt tokens of one forward pass, padding included, at least 1. Halved
            where memory runs out.
        revision: branch, tag or commit of a hub id.

    Raises:
        InvalidInputError: an argument of the wrong type or out of range.
    """

    tag = "local"

    def __init__(
        self,
        model: str,
        device: str = "auto",
        dtype: str = "auto",
        max_length: int = 8192,
        batch_tokens: int = 16384,
        revision: str | None = None,
    ) -> None:
        self._config = LocalConfig(
            model=model,
            device=device,
            dtype=dtype,
            max_length=max_length,
            batch_tokens=batch_tokens,
            revision=revision,
        )
        self._lock = Lock()
        self._callers = Callers()
        self._worker: ThreadPoolExecutor | None = None
        self._process_id: int | None = None
        self._model: LocalModel | None = None
        self._closed = False

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return self._config.config()

    def facts(self) -> EngineFacts:
        """The model's facts; loads it at first use.

        Raises:
            MissingDependencyError: torch, transformers, tokenizers or torch_npu is missing.
            ModelError: the checkpoint is missing, incomplete, or no Qwen3 reranker.
            EngineClosedError: the engine was closed.
        """
        return self._facts(self._get_model())

    async def afacts(self) -> EngineFacts:
        """The same without blocking the event loop."""
        return self._facts(await self._aget_model())

    def encode(self, texts: Sequence[str]) -> Sequence[Encoding]:
        """Tokens of prompt parts."""
        return self._get_model().tokenizer.encode_batch(texts)

    async def aencode(self, texts: Sequence[str]) -> Sequence[Encoding]:
        """The same without blocking the event loop."""
        tokenizer = (await self._aget_model()).tokenizer
        return await asyncio.to_thread(tokenizer.encode_batch, texts)

    def score(self, plan: Plan, call: Call) -> list[Score]:
        """One score for each passage of a plan that has token ids; stops between batches.

        Raises:
            RerankCancelled: the caller asked to stop.
            ScoreError: the model computed something that is no number.
            EngineError: torch failed, or memory ran out even for one prompt.
        """
        return drive(self._scoring(plan, call), lambda question: self._run(question.answer))

    async def ascore(self, plan: Plan, call: Call) -> list[Score]:
        """The same without blocking the event loop."""
        return await adrive(self._scoring(plan, call), lambda question: self._arun(question.answer))

    def close(self) -> None:
        """Free the model once the batch that is running has ended. Safe to call twice.

        Calls under way end in EngineClosedError at once.
        """
        with self._lock:
            self._closed = True
            worker, self._worker = self._worker, None
        # After a fork the worker's thread is the parent's, and waiting for it would be for ever.
        if worker is not None and self._process_id == os.getpid():
            self._callers.dismiss()
            worker.shutdown(wait=True)
        model, self._model = self._model, None
        if model is not None:
            model.forward.free_unused()

    def _facts(self, model: LocalModel) -> EngineFacts:
        length = min(self._config.max_length, model.checkpoint.max_positions)
        return EngineFacts(
            model=self._config.model, max_length=length, details=model.forward.placement()
        )

    def _scoring(self, plan: Plan, call: Call) -> Steps[_Question, Any, list[Score]]:
        """The worker's tasks for one call: a query part where it is shared, then each batch."""
        logits = [math.nan] * len(plan.passages)
        cached_ids, query_cache = None, None
        for batch in plan_batches(plan, self._config.batch_tokens):
            call.check()
            if batch.shared != cached_ids:
                cached_ids = batch.shared
                query_cache = None if cached_ids is None else (yield _NeedQueryCache(cached_ids))
            batch_logits = yield _NeedLogits(batch.rows, query_cache)
            for passage, logit in zip(batch.passages, batch_logits, strict=True):
                logits[passage] = logit
            call.advance(len(batch.passages))
        return self._scores(logits)

    def _scores(self, logits: Sequence[float]) -> list[Score]:
        bad = [at for at, logit in enumerate(logits) if not math.isfinite(logit)]
        if bad:
            raise ScoreError(
                f"{self._config.model} computed {logits[bad[0]]} for passage {bad[0]} and "
                f"{len(bad) - 1} others. With dtype float16 take bfloat16 or float32; else the "
                "weights are damaged: fetch the model again."
            )
        return [Score.of_logit(logit) for logit in logits]

    def _run(self, task: Callable[[LocalModel], T]) -> T:
        return wait(self._submit(task))

    async def _arun(self, task: Callable[[LocalModel], T]) -> T:
        return await wait_async(self._submit(task))

    def _loaded_model(self) -> LocalModel | None:
        """The model if it is loaded; does not wait for another caller's batch."""
        with self._lock:
            self._check_usable()
            return self._model

    def _get_model(self) -> LocalModel:
        model = self._loaded_model()
        return self._run(_return_model) if model is None else model

    async def _aget_model(self) -> LocalModel:
        model = self._loaded_model()
        return await self._arun(_return_model) if model is None else model

    def _submit(self, task: Callable[[LocalModel], T]) -> Future[T]:
        with self._lock:
            self._check_usable()
            if self._worker is None:
                self._worker = ThreadPoolExecutor(1, thread_name_prefix="qwen3-rerank")
                self._process_id = os.getpid()
            return self._callers.promise(self._worker.submit(self._run_task, task))

    def _check_usable(self) -> None:
        if self._process_id not in (None, os.getpid()):
            raise EngineError(
                "This engine was used before the process forked; torch's threads do not survive "
                "that. Make the engine in the child, or start children with 'spawn'."
            )
        if self._closed:
            raise self._closed_error()

    def _run_task(self, task: Callable[[LocalModel], T]) -> T:
        """In the worker: load the model if need be, and run one task."""
        if self._closed:
            raise self._closed_error()
        if self._model is None:
            config = self._config
            self._model = load_local_model(
                config.model, config.revision, config.device, config.dtype
            )
        return task(self._model)

    def _closed_error(self) -> EngineClosedError:
        return EngineClosedError(f"{self!r} was closed. Make a new engine.")


def _return_model(model: LocalModel) -> LocalModel:
    return model
