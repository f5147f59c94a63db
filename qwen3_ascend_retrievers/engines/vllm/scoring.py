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
from ...errors import EngineError, RerankError, ScoreError
from ..base import Call
from .compat import Reply, Vllm
from .submission import Turns

# How often a caller's wish to stop is looked at, in seconds.
_LOOK: Final = 0.1


class Requests:
    """Sends prompts to vLLM's async engine, inside its loop.

    Args:
        vllm: the installed version.
        engine: its async engine.
        lora: the adapter that goes with each request, or None.
        turns: of this engine's calls.
    """

    def __init__(self, vllm: Vllm, engine: Any, lora: Any, turns: Turns) -> None:
        self._vllm, self._engine, self._lora = vllm, engine, lora
        self._turns = turns
        self._names = (f"qwen3-rerank-{uuid4().hex}-{number}" for number in count())

    async def one(self, ids: Sequence[int], salt: str | None = None) -> Reply:
        """vLLM's answer to one prompt.

        Raises:
            EngineError: vLLM failed, as a whole or for this prompt.
        """
        try:
            return await self._vllm.ask(
                self._engine, ids, next(self._names), lora=self._lora, salt=salt
            )
        except RerankError:
            raise
        # vLLM's errors come from its tree, from ValueError, and from what failed below it.
        except Exception as error:
            raise self._mapped(error, len(ids)) from error

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
                done, _ = await asyncio.wait(
                    running if sender.done() else {sender, *running},
                    timeout=_LOOK,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                finished = running & done
                running -= finished
                scores.update(await asyncio.gather(*finished))
                call.done(len(finished))
                # Not left to vLLM alone: a request of a dead engine must never wait for ever.
                if not done and self._vllm.is_dead(self._engine):
                    raise self._dead()
            await sender
            return [scores[at] for at in range(len(plan.passages))]
        finally:
            for task in (sender, *running):
                task.cancel()
            await asyncio.gather(sender, *running, return_exceptions=True)

    async def _send(self, plan: Plan, running: set[asyncio.Task[tuple[int, Score]]]) -> None:
        """Send all of a plan's passages, and add what is under way to `running`."""
        weights = (self._weight(plan, at) for at in range(len(plan.passages)))
        for portion in self._turns.portions(weights):
            taken = {at: self._weight(plan, at) for at in portion}
            await self._turns.enter(sum(taken.values()))
            for at, weight in taken.items():
                task = asyncio.create_task(self._scored(at, plan.prompt_ids(at) or ()))
                task.add_done_callback(partial(self._left, weight))
                running.add(task)

    def _left(self, weight: int, _: object) -> None:
        self._turns.leave(weight)

    def _weight(self, plan: Plan, at: int) -> int:
        passage = plan.passages[at]
        query = plan.queries[passage.query]
        return self._turns.weight(len(query.ids or ()), len(passage.ids or ()))

    async def _scored(self, at: int, ids: Sequence[int]) -> tuple[int, Score]:
        reply = await self.one(ids)
        if not math.isfinite(reply.value):
            raise ScoreError(
                f"vLLM computed {reply.value} for passage {at}. With dtype float16 take bfloat16 "
                "or float32; else the weights are damaged: fetch the model again."
            )
        if self._vllm.gives_logits:
            return at, Score.of_logit(reply.value)
        return at, Score(reply.value)

    def _mapped(self, error: Exception, tokens: int) -> EngineError:
        if self._vllm.says_dead(error) or self._vllm.is_dead(self._engine):
            return self._dead()
        return EngineError(f"vLLM refused a prompt of {tokens} tokens: {error}")

    def _dead(self) -> EngineError:
        return EngineError(
            "vLLM's worker processes have died. Close this engine and make a new one; the reason "
            "is in their log on standard error (if it is memory: lower device_memory or "
            "max_length)."
        )
