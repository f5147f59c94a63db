"""Rerank with Qwen3-Reranker in LangChain and LlamaIndex, in-process or behind /v1/rerank.

Names are imported when first used, so that `import qwen3_ascend_retrievers` loads no engine's
libraries.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .core.prompt import DEFAULT_INSTRUCTION, INSTRUCTIONS
    from .core.ranking import RankedDocument, Score
    from .core.results import Ranking
    from .engines.local import LocalEngine
    from .engines.remote import RemoteEngine
    from .engines.vllm import VLLMEngine
    from .reranker import Reranker

__version__ = "0.1.0"

_HOMES = {
    "DEFAULT_INSTRUCTION": ".core.prompt",
    "INSTRUCTIONS": ".core.prompt",
    "LocalEngine": ".engines.local",
    "RankedDocument": ".core.ranking",
    "Ranking": ".core.results",
    "RemoteEngine": ".engines.remote",
    "Reranker": ".reranker",
    "Score": ".core.ranking",
    "VLLMEngine": ".engines.vllm",
}

__all__ = [
    "DEFAULT_INSTRUCTION",
    "INSTRUCTIONS",
    "LocalEngine",
    "RankedDocument",
    "Ranking",
    "RemoteEngine",
    "Reranker",
    "Score",
    "VLLMEngine",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
