"""The optional libraries of this package, each imported at first use."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ...errors import MissingDependencyError


def library(name: str) -> Any:
    """The module `name` of the extra "eval".

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingDependencyError(
            f"Evaluation needs {name.partition('.')[0]}: "
            "pip install 'qwen3-ascend-retrievers[eval]'"
        ) from error
