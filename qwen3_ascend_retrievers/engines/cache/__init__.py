"""Scores that were computed before: an engine around another one, and where it keeps them."""

from .engine import CachedEngine, with_cache
from .stores import DiskStore, MemoryStore

__all__ = ["CachedEngine", "DiskStore", "MemoryStore", "with_cache"]
