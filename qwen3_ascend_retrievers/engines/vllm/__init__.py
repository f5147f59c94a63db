"""Qwen3-Reranker in this process with vLLM: on an Ascend NPU (vllm-ascend), CUDA, or the CPU.

engine.py is the engine. loading.py and launch.py make vLLM's async engine from a checkpoint
(source.py finds it, platform.py says on what, settings.py with which settings, quiet.py keeps the
logs off standard output, check.py tests what was made). host.py is the loop that owns it,
scoring.py sends prompts to it, by turns (turns.py), workers.py ends its processes, and watchdog.py
does where this process can no longer. versions.py knows how vLLM's versions differ.
"""

from .engine import VLLMEngine

__all__ = ["VLLMEngine"]
