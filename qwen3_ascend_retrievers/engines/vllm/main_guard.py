"""The `if __name__ == "__main__":` that vLLM's spawned processes need, explained where it lacks."""

from __future__ import annotations

import ast
import multiprocessing
import sys
from pathlib import Path
from typing import Any, Final

from ...errors import EngineError

_WHAT: Final = (
    "vLLM starts its workers as fresh processes that import the main script again. Put what the "
    'script does under `if __name__ == "__main__":`.'
)


def check_start(process: Any = None) -> None:
    """Raise EngineError if this process cannot start vLLM's processes.

    Args:
        process: whose state counts; None is this process.
    """
    process = process or multiprocessing.current_process()
    if getattr(process, "_inheriting", False):
        raise EngineError(
            f"This script made an engine while it was being imported by a worker process. {_WHAT}"
        )
    if process.daemon:
        raise EngineError(
            "This is a daemonic process, which may not start vLLM's processes. Make the engine "
            "in another process, or start this one without daemon=True."
        )


def guard_hint(script: str | None = None) -> str:
    """What to say after a failed start if the main script has no guard; else nothing.

    Args:
        script: its path; None finds it.
    """
    path = script or getattr(sys.modules["__main__"], "__file__", None)
    if path is None or not Path(path).is_file():
        return ""
    try:
        tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return ""
    guarded = any(isinstance(one, ast.If) and "__name__" in ast.dump(one.test) for one in tree.body)
    return "" if guarded else f"\n{path} has no main guard. {_WHAT}"
