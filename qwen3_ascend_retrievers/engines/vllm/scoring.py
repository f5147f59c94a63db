"""From a plan's prompts to vLLM's requests and back to scores, for one call among many."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import Any, Final
from uuid import uuid4

from ...core.plan import Plan
from ...core.ranking import Score
from ...errors import EngineClosedError, EngineError, RerankError, ScoreError
from ..base import Call
from .compat import PromptOutput, Vllm
from .submission import SubmissionQueue

# Seconds between two checks whether the caller has cancelled.
_CANCEL_CHECK_SECONDS: Final = 0.1


class Requests:
    """Sends prompts to vLLM's async engine, inside its loop.

    Args:
        vllm: the installed version.
        engine: its async engine.
        lora: the adapter that goes with each request, or None.
        queue: of this engine's calls.
    """

    def __init__(self, vllm: Vllm, engine: Any, lora: Any, queue: SubmissionQueue) -> None:
        self._vllm, self._engine, self._lora = vllm, engine, lora
        self._queue = queue
        self._names = (f"qwen3-rerank-{uuid4().hex}-{number}" for number in count())

    async def score_prompt(self, ids: Sequence[int], salt: str | None = None) -> PromptOutput:
        """vLLM's answer to one prompt.

        Raises:
            EngineError: vLLM failed, as a whole or for this prompt.
        """
        try:
            return await self._vllm.score_prompt(
                self._engine, ids, next(self._names), lora=self._lora, salt=salt
            )
        except RerankError:
            raise
        # vLLM's errors come from its tree, from ValueError, and from what failed below it.
        except Exception as error:
            raise self._engine_error(error, len(ids)) from error

    async def score(self, plan: Plan, call: Call) -> list[Score]:
        """One score for each passage, sent in turns with other calls' and batched by vLLM.

        Raises:
            RerankCancelled: the caller asked to stop; its requests were aborted.
            ScoreError: vLLM answered something that is no number.
            EngineError: vLLM failed.
        """
        scores: dict[int, Score] = {}
        running: set[asyncio.Task[tuple[int, Score]]] = set()
        sender = asyncio.create_task(self._send(plan, running))
        try:
            while running or not sender.done():
                call.check()
                completed, _ = await asyncio.wait(
                    running if sender.done() else {sender, *running},
                    timeout=_CANCEL_CHECK_SECONDS,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                scored = running & completed
                running -= scored
                scores.update(await asyncio.gather(*scored))
                call.advance(len(scored))
                # Checked here too: a request of a dead engine must never wait for ever.
                if not completed and self._vllm.is_dead(self._engine):
                    raise self._dead_error()
            await sender
            return [scores[at] for at in range(len(plan.passages))]
        finally:
            for task in (sender, *running):
                task.cancel()
            await asyncio.gather(sender, *running, return_exceptions=True)

    async def _send(self, plan: Plan, running: set[asyncio.Task[tuple[int, Score]]]) -> None:
        """Send all of a plan's passages, and add their tasks to `running`."""
        weights = (self._weight(plan, at) for at in range(len(plan.passages)))
        for portion in self._queue.portions(weights):
            portion_weights = {at: self._weight(plan, at) for at in portion}
            await self._queue.acquire(sum(portion_weights.values()))
            for at, weight in portion_weights.items():
                task = asyncio.create_task(self._score_passage(at, plan.prompt_ids(at) or ()))
                task.add_done_callback(partial(self._release, weight))
                running.add(task)

    def _release(self, weight: int, _: object) -> None:
        self._queue.release(weight)

    def _weight(self, plan: Plan, at: int) -> int:
        passage = plan.passages[at]
        query = plan.queries[passage.query]
        return self._queue.weight(len(query.ids or ()), len(passage.ids or ()))

    async def _score_passage(self, at: int, ids: Sequence[int]) -> tuple[int, Score]:
        output = await self.score_prompt(ids)
        if not math.isfinite(output.value):
            raise ScoreError(
                f"vLLM computed {output.value} for passage {at}. With dtype float16 take bfloat16 "
                "or float32; else the weights are damaged: fetch the model again."
            )
        if self._vllm.gives_logits:
            return at, Score.of_logit(output.value)
        return at, Score(output.value)

    def _engine_error(self, error: Exception, tokens: int) -> EngineError:
        if self._vllm.is_dead_error(error) or self._vllm.is_dead(self._engine):
            return self._dead_error()
        return EngineError(f"vLLM refused a prompt of {tokens} tokens: {error}")

    def _dead_error(self) -> EngineClosedError:
        return EngineClosedError(
            "vLLM's worker processes have died. Close this engine and make a new one; the reason "
            "is in their log on standard error (if it is memory: lower device_memory or "
            "max_length)."
        )
