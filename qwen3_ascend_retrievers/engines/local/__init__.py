"""Qwen3-Reranker in this process with transformers and torch.

engine.py is the engine; batches.py decides what goes through the model together; forward.py is
the forward pass, loading.py makes it from a checkpoint, device.py says where and how precisely.
"""

from .engine import LocalEngine

__all__ = ["LocalEngine"]
