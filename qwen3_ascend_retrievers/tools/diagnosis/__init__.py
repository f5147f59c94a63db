"""The checks of `qwen3-rerank doctor`: of this machine, and of an engine or a server.

Each check returns findings; showing them is the command line's part.
"""

from .engine_checks import check_engine, check_texts
from .environment import check_environment, versions
from .findings import Colour, Finding, worst

__all__ = [
    "Colour",
    "Finding",
    "check_engine",
    "check_environment",
    "check_texts",
    "versions",
    "worst",
]
