"""Checks of the main script, which vLLM's spawned processes import again.

A worker in which the script makes an engine ends without a message and leaves a note for the
process that started it, whose error is then the only one.
"""

from __future__ import annotations

import ast
import multiprocessing
import os
import sys
from multiprocessing.spawn import get_preparation_data
from pathlib import Path
from typing import Any, Final

from ...errors import EngineError
from ...settings import environment

# Names the file that a worker writes which makes an engine; set while vLLM starts its processes.
NOTE_VARIABLE: Final = "QWEN3_RERANK_GUARD_NOTE"
_GUARD_ADVICE: Final = (
    "vLLM starts its workers as fresh processes that import the main script again. Put what the "
    'script does under `if __name__ == "__main__":`.'
)
_ENGINE_IN_WORKER: Final = (
    "This script made an engine while it was being imported by a worker process."
)


def check_start(process: Any = None) -> None:
    """Raise EngineError if this process cannot start vLLM's processes.

    Args:
        process: whose state counts; None is this process.
    """
    process = process or multiprocessing.current_process()
    if getattr(process, "_inheriting", False):
        _leave_note()
        raise EngineError(f"{_ENGINE_IN_WORKER} {_GUARD_ADVICE}")
    if process.daemon:
        raise EngineError(
            "This is a daemonic process, which may not start vLLM's processes. Make the engine "
            "in another process, or start this one without daemon=True."
        )


def check_main(start_method: str | None) -> None:
    """Raise EngineError if the main script is in no file that spawned processes could import.

    Args:
        start_method: how vLLM is to start processes; None leaves it to this package.
    """
    script = get_preparation_data("worker").get("init_main_from_path")
    if start_method == "fork" or script is None or Path(script).is_file():
        return
    raise EngineError(
        f"The main script is not in a file: there is no {script}. vLLM starts its workers as fresh "
        "processes that import it again. Save it as a file and run that, instead of reading it "
        "from standard input or a pipe; `python -c` and an interactive session work too."
    )


def check_guard_note(note: Path) -> None:
    """Raise EngineError if a worker made an engine, and so wrote this note."""
    if note.is_file():
        raise EngineError(f"{note.read_text(encoding='utf-8')} {_GUARD_ADVICE}") from None


def guard_hint(script: str | None = None) -> str:
    """A hint for a failed start if the main script has no guard; else nothing.

    Args:
        script: its path; None finds it.
    """
    path = _main_script() if script is None else Path(script)
    if path is None or not path.is_file():
        return ""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return ""
    guarded = any(
        isinstance(statement, ast.If) and "__name__" in ast.dump(statement.test)
        for statement in tree.body
    )
    return "" if guarded else f"\n{path} has no main guard. {_GUARD_ADVICE}"


def _main_script() -> Path | None:
    """The file that a spawned process would import again; None if it would import none."""
    preparation = get_preparation_data("worker")
    name = preparation.get("init_main_from_name", "")
    if name:
        main = getattr(sys.modules["__main__"], "__file__", None)
        return None if main is None or name.split(".")[-1] == "__main__" else Path(main)
    script = preparation.get("init_main_from_path")
    return None if script is None else Path(script)


def _leave_note() -> None:
    """End this worker, if the process that started it reads the note and reports it."""
    note = environment(NOTE_VARIABLE)
    if note is not None and Path(note).parent.is_dir():
        Path(note).write_text(_ENGINE_IN_WORKER, encoding="utf-8")
        # No exception: the script might catch it and go on; and it would print a second traceback.
        os._exit(1)
