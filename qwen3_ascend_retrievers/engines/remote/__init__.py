"""Scoring by a server that speaks `/v1/rerank`: vLLM and vLLM-Ascend first."""

from .engine import RemoteEngine

__all__ = ["RemoteEngine"]
