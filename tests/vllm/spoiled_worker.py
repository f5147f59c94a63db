"""A real CPU worker whose prefix cache holds nothing by the time it is used. For the self-check."""

from __future__ import annotations

from typing import Any

from vllm.v1.worker.cpu_worker import CPUWorker


class SpoiledWorker(CPUWorker):
    """Empties all blocks before a step in which one of them would be read for a new request."""

    def execute_model(self, scheduler_output: Any) -> Any:
        """The step itself is vLLM's."""
        if any(one.num_computed_tokens for one in scheduler_output.scheduled_new_reqs):
            for blocks in self.model_runner.kv_caches:
                blocks.zero_()
        return super().execute_model(scheduler_output)
