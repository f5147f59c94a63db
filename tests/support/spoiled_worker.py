"""Real CPU workers whose cache holds nothing by the time it is read. For the self-check."""

from __future__ import annotations

from typing import Any

from vllm.v1.worker.cpu_worker import CPUWorker


class SpoiledWorker(CPUWorker):
    """Empties all blocks before a step in which one of them would be read for a new request."""

    def execute_model(self, scheduler_output: Any) -> Any:
        """The step itself is vLLM's."""
        if self.reads_what_was(scheduler_output):
            for blocks in self.model_runner.kv_caches:
                blocks.zero_()
        return super().execute_model(scheduler_output)

    def reads_what_was(self, scheduler_output: Any) -> bool:
        """Whether a new request starts from the prefix cache."""
        return any(request.num_computed_tokens for request in scheduler_output.scheduled_new_reqs)


class SplitSpoiledWorker(SpoiledWorker):
    """The same where a prompt goes on that an earlier step began; the prefix cache works."""

    def reads_what_was(self, scheduler_output: Any) -> bool:
        """Whether a step computes a prompt's second piece."""
        return any(scheduler_output.scheduled_cached_reqs.num_computed_tokens)


class AssertingWorker(CPUWorker):
    """Fails while it loads, and gives no reason."""

    def load_model(self, *args: Any, **kwargs: Any) -> None:
        """An assertion has no message."""
        layers = self.vllm_config.model_config.hf_config.num_hidden_layers
        assert layers < 0
