"""The console script `qwen3-rerank`. Only its entry is here, which needs no library to start."""

from __future__ import annotations

import sys
from importlib import import_module

from ..errors import MissingDependencyError


def main() -> None:
    """Run the console script; its exit code is the process's."""
    try:
        _check_libraries()
    except MissingDependencyError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from error
    from .app import run

    run()


def _check_libraries() -> None:
    try:
        import_module("rich")
        import_module("typer")
    except ImportError as error:
        raise MissingDependencyError(
            "qwen3-rerank needs typer and rich: pip install 'qwen3-ascend-retrievers[cli]'"
        ) from error
