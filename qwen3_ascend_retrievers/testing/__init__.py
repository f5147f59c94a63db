"""For tests of code that uses this package: a fake engine, and conformance suites.

The suites are imported when first used, because each needs its framework.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .fake import FakeEngine
    from .langchain import CompressorConformance
    from .llama_index import PostprocessorConformance

_SUBMODULES = {
    "CompressorConformance": ".langchain",
    "FakeEngine": ".fake",
    "PostprocessorConformance": ".llama_index",
}

__all__ = ["CompressorConformance", "FakeEngine", "PostprocessorConformance"]


def __getattr__(name: str) -> Any:
    if name not in _SUBMODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_SUBMODULES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
