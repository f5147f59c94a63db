"""Rerank with Qwen3-Reranker in LangChain and LlamaIndex, in-process or behind /v1/rerank.

Names are imported when first used, so that `import qwen3_ascend_retrievers` loads no engine's
libraries.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .core.plan import Plan
    from .core.prompt import DEFAULT_INSTRUCTION, INSTRUCTIONS
    from .core.ranking import RankedDocument, Score
    from .core.results import Ranking
    from .engines.base import Call, Engine, EngineFacts
    from .engines.cache import CachedEngine
    from .engines.cascade import CascadeEngine
    from .engines.local import LocalEngine
    from .engines.remote import RemoteEngine
    from .engines.vllm import VLLMEngine
    from .reranker import Reranker

__version__ = "0.1.0"

_HOMES = {
    "CachedEngine": ".engines.cache",
    "Call": ".engines.base",
    "CascadeEngine": ".engines.cascade",
    "DEFAULT_INSTRUCTION": ".core.prompt",
    "Engine": ".engines.base",
    "EngineFacts": ".engines.base",
    "INSTRUCTIONS": ".core.prompt",
    "Plan": ".core.plan",
    "RankedDocument": ".core.ranking",
    "Ranking": ".core.results",
    "Reranker": ".reranker",
    "Score": ".core.ranking",
}

__all__ = [
    "DEFAULT_INSTRUCTION",
    "INSTRUCTIONS",
    "CachedEngine",
    "Call",
    "CascadeEngine",
    "Engine",
    "EngineFacts",
    "LocalEngine",
    "Plan",
    "RankedDocument",
    "Ranking",
    "RemoteEngine",
    "Reranker",
    "Score",
    "VLLMEngine",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    # Not at the top: the package's import stays light.
    from .engines.registry import PUBLIC

    for row in PUBLIC:
        if row.class_name == name:
            return row.load()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    from .engines.registry import PUBLIC

    return sorted({*globals(), *__all__, *[row.class_name for row in PUBLIC]})
