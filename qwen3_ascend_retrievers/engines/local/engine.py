"""LocalEngine: the engine around the forward pass. One thread a device does all of torch's work."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import Any, TypeVar

from ..._util.locks import fork_safe_lock
from ...core.plan import Plan
from ...core.ranking import Score
from ...core.steps import Steps, adrive, drive
from ...core.tokens import Encoding
from ...errors import EngineClosedError, EngineError, ScoreError
from ...models.fingerprint import scoring_fingerprint
from ..base import Call, EngineFacts
from ..configured import Configured
from ..waiting import Callers, wait, wait_async
from .batches import Batch, plan_batches
from .config import LocalConfig
from .loading import LocalModel, load_local_model

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _NeedLogits:
    """What are the logits of these batches, of which each runs on another device?"""

    batches: Sequence[Batch]


class LocalEngine(Configured):
    """Runs Qwen3-Reranker in this process with transformers and torch.

    The model is loaded at first use. Threads and event loops may share an engine: it takes their
    batches in turn. An engine that was used before the process forked is refused in the child.

    Args:
        model: a hub id, a folder, or "tiny" for the bundled model. The original checkpoint
            (Qwen3ForCausalLM) or a converted one (Qwen3ForSequenceClassification, one label).
        device: "auto", "cpu", "cuda", "npu" or "mps", optionally with a number such as "npu:1", or
            a list of devices, each of which gets a copy of the model and a share of each call.
            "auto" takes the CPU only where there is no other.
        dtype: "float32", "bfloat16", "float16", or "auto": bfloat16 where the device computes in
            it, which a CPU does with avx512_bf16 or amx_bf16; else float32 on CPU and MPS, float16
            elsewhere. The bundled model is float32.
        max_length: tokens of a whole prompt, at least 1; the model's own maximum if that is less.
        batch_tokens: tokens of one forward pass, at least 1; None is 2,048 on a CPU, else 16,384.
            Halved where memory runs out.
        revision: branch, tag or commit of a hub id.

    Raises:
        InvalidInputError: an argument of the wrong type or out of range.
    """

    tag = "local"

    def __init__(
        self,
        model: str,
        device: str | Sequence[str] = "auto",
        dtype: str = "auto",
        max_length: int = 8192,
        batch_tokens: int | None = None,
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
        self._lock = fork_safe_lock()
        self._callers = Callers()
        self._copies = [_Copy(device) for device in self._config.devices]
        self._turns = cycle(range(len(self._copies)))
        self._process_id: int | None = None
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

    def fingerprint(self) -> str:
        """What a score depends on besides its prompt, for caches; loads the model at first use."""
        model = self._get_model()
        checkpoint, dtype = model.checkpoint, model.forward.placement()["dtype"]
        return scoring_fingerprint(checkpoint, engine=self.tag, dtype=dtype)

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
        steps = self._scoring(plan, call, self._get_model())

        def answer(question: _NeedLogits) -> list[list[float]]:
            return [wait(promise) for promise in self._submit_batches(question.batches)]

        return drive(steps, answer)

    async def ascore(self, plan: Plan, call: Call) -> list[Score]:
        """The same without blocking the event loop."""
        steps = self._scoring(plan, call, await self._aget_model())

        async def answer(question: _NeedLogits) -> list[list[float]]:
            promises = self._submit_batches(question.batches)
            return [await wait_async(promise) for promise in promises]

        return await adrive(steps, answer)

    def close(self) -> None:
        """Free the model once the batch that is running has ended. Safe to call twice.

        Calls under way end in EngineClosedError at once.
        """
        with self._lock:
            self._closed = True
        # After a fork the threads are the parent's, and waiting for them would be for ever.
        is_own = self._process_id == os.getpid()
        if is_own:
            self._callers.dismiss()
        for copy in self._copies:
            copy.close(wait=is_own)

    def _facts(self, model: LocalModel) -> EngineFacts:
        length = min(self._config.max_length, model.checkpoint.max_positions)
        details = model.forward.placement()
        if len(self._copies) > 1:
            details["device"] = ", ".join(self._config.devices)
        return EngineFacts(model=self._config.model, max_length=length, details=details)

    def _scoring(
        self, plan: Plan, call: Call, model: LocalModel
    ) -> Steps[_NeedLogits, list[list[float]], list[Score]]:
        """The batches of one call, as many at once as there are devices."""
        logits = [math.nan] * len(plan.passages)
        batches = plan_batches(plan, model.stems(plan), self._batch_tokens(plan, model))
        for begin in range(0, len(batches), len(self._copies)):
            call.check()
            at_once = batches[begin : begin + len(self._copies)]
            for batch, batch_logits in zip(at_once, (yield _NeedLogits(at_once)), strict=True):
                for passage, logit in zip(batch.passages, batch_logits, strict=True):
                    logits[passage] = logit
                call.advance(len(batch.passages))
        return self._scores(logits)

    def _batch_tokens(self, plan: Plan, model: LocalModel) -> int:
        """Tokens of a pass, so that each device gets its share of a call."""
        most = self._config.batch_tokens or model.forward.good_pass_tokens()
        tokens = sum(len(passage.ids or ()) for passage in plan.passages)
        # Each device computes the part of a query for itself.
        query_tokens = max((len(query.ids or ()) for query in plan.queries), default=0)
        return max(1, min(most, -(-tokens // len(self._copies)) + query_tokens))

    def _scores(self, logits: Sequence[float]) -> list[Score]:
        bad = [at for at, logit in enumerate(logits) if not math.isfinite(logit)]
        if bad:
            raise ScoreError(
                f"{self._config.model} computed {logits[bad[0]]} for passage {bad[0]} and "
                f"{len(bad) - 1} others. With dtype float16 take bfloat16 or float32; else the "
                "weights are damaged: fetch the model again."
            )
        return [Score.of_logit(logit) for logit in logits]

    def _loaded_model(self) -> LocalModel | None:
        """The first device's model if all are loaded; does not wait for another caller's batch."""
        with self._lock:
            self._check_usable()
            is_loaded = all(copy.model is not None for copy in self._copies)
            return self._copies[0].model if is_loaded else None

    def _get_model(self) -> LocalModel:
        model = self._loaded_model()
        if model is not None:
            return model
        first, *_ = [wait(loading) for loading in self._load_all()]
        return first

    async def _aget_model(self) -> LocalModel:
        model = self._loaded_model()
        if model is not None:
            return model
        first, *_ = [await wait_async(loading) for loading in self._load_all()]
        return first

    def _load_all(self) -> list[Future[LocalModel]]:
        """Promises of every device's model: one that cannot be used is told at once."""
        return [self._submit(at, _return_model) for at in range(len(self._copies))]

    def _submit_batches(self, batches: Sequence[Batch]) -> list[Future[list[float]]]:
        """Promises of each batch's logits, on one device each, from that whose turn it is."""
        return [self._submit(next(self._turns), partial(_logits_of, batch)) for batch in batches]

    def _submit(self, at: int, task: Callable[[LocalModel], T]) -> Future[T]:
        with self._lock:
            self._check_usable()
            self._process_id = os.getpid()
            return self._callers.promise(self._copies[at].submit(partial(self._run_task, at, task)))

    def _check_usable(self) -> None:
        if self._process_id not in (None, os.getpid()):
            raise EngineError(
                "This engine was used before the process forked; torch's threads do not survive "
                "that. Make the engine in the child, or start children with 'spawn'."
            )
        if self._closed:
            raise self._closed_error()

    def _run_task(self, at: int, task: Callable[[LocalModel], T]) -> T:
        """In a worker: load the model if need be, and run one task."""
        if self._closed:
            raise self._closed_error()
        copy, config = self._copies[at], self._config
        if copy.model is None:
            copy.model = load_local_model(config.model, config.revision, copy.device, config.dtype)
        return task(copy.model)

    def _closed_error(self) -> EngineClosedError:
        return EngineClosedError(f"{self!r} was closed. Make a new engine.")


class _Copy:
    """One device's copy of the model, and the thread that does all of torch's work there.

    Args:
        device: where it is loaded.

    Attributes:
        device: as above.
        model: None until it is loaded.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.model: LocalModel | None = None
        self._worker: ThreadPoolExecutor | None = None

    def submit(self, task: Callable[[], T]) -> Future[T]:
        """The result of `task`, which runs in the thread."""
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="qwen3-rerank")
        return self._worker.submit(task)

    def close(self, *, wait: bool) -> None:
        """Free the model, once the task that runs has ended if `wait`."""
        worker, self._worker = self._worker, None
        if worker is not None and wait:
            worker.shutdown(wait=True)
        model, self.model = self.model, None
        if model is not None:
            model.prefixes.clear()
            model.forward.free_unused()


def _logits_of(batch: Batch, model: LocalModel) -> list[float]:
    return model.logits(batch)


def _return_model(model: LocalModel) -> LocalModel:
    return model
