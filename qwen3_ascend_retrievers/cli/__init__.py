"""The console script `qwen3-rerank`. Only its entry is here, which needs no library to start."""

from __future__ import annotations

import signal
import sys
from importlib import import_module
from typing import Final

from ..errors import MissingDependencyError

INTERRUPTED_NOTE: Final = "Interrupted; no file was left half-written."
# A shell's own convention: 128 and the signal's number.
INTERRUPTED: Final = 128 + signal.SIGINT


def main() -> None:
    """Run the console script; its exit code is the process's."""
    try:
        _check_libraries()
        from .app import run_app

        run_app()
    except MissingDependencyError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from error
    # Within a command running.py does this; most of a short call is spent before, in imports.
    except KeyboardInterrupt as error:
        sys.stderr.write(f"{INTERRUPTED_NOTE}\n")
        raise SystemExit(INTERRUPTED) from error


def _check_libraries() -> None:
    try:
        import_module("rich")
        import_module("typer")
    except ImportError as error:
        raise MissingDependencyError(
            "qwen3-rerank needs typer and rich: pip install 'qwen3-ascend-retrievers[cli]'"
        ) from error
