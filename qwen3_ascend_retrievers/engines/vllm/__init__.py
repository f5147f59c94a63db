"""Qwen3-Reranker in this process with vLLM: on an Ascend NPU (vllm-ascend), CUDA, or the CPU.

engine.py is the engine. startup.py and launch.py start vLLM's async engine from a checkpoint:
checkpoint.py finds or downloads it, platform.py detects the device, tuning.py is the table of
settings, logs.py keeps vLLM's logs off standard output, self_check.py tests the loaded engine.
host.py is the loop that owns it, scoring.py sends prompts to it in turns (submission.py),
processes.py ends its processes, and watchdog.py does where this process can no longer. compat.py
knows how vLLM's versions differ.
"""

from .engine import VLLMEngine

__all__ = ["VLLMEngine"]
