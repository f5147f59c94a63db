"""Log suppression: while vLLM starts, its processes' logs are kept off standard output.

Errors in that time also go to a file: vLLM writes the reason of a failed start to its log only.
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ...settings import environment, environment_defaults
from .main_guard import NOTE_VARIABLE

# If the caller sets one of them, vLLM's logging is left alone.
_LOGGING_VARIABLES: Final = ("VLLM_LOGGING_CONFIG_PATH", "VLLM_CONFIGURE_LOGGING")
# The lines of a traceback: its start, each frame, the exception, and between two of a chain.
_TRACEBACK: Final = "Traceback (most recent call last):"
_FRAME: Final = re.compile(r' +File "([^"]+)", line (\d+), in (.+)')
_EXCEPTION: Final = re.compile(
    r"(?:\w+\.)*(\w*(?:Error|Exception|Exit|Interrupt)|[A-Z]\w+(?=: ))((?:: .*)?)$"
)
_CHAINED: Final = ("The above exception", "During handling")
_LOGGERS: Final = ("vllm", "vllm_ascend")


@dataclass(frozen=True, slots=True)
class StartupLog:
    """What vLLM's processes logged as errors.

    Attributes:
        path: the file with it, or None where the caller chose vLLM's logging.
        guard_note: the file that a worker writes which makes an engine; see main_guard.py.
    """

    path: Path | None
    guard_note: Path

    def cause(self) -> str | None:
        """The exceptions of the log's first traceback and where they were raised, in one line."""
        if self.path is None or not self.path.is_file():
            return None
        return traceback_summary(self.path.read_text(encoding="utf-8", errors="replace"))


def traceback_summary(log: str) -> str | None:
    """The first and last exception of the first traceback in `log`, each with its place.

    None if there is no traceback. A worker's own comes before those of the processes that wait for
    it. An exception may have no message, such as an assertion's; its place is then all there is.
    """
    before, head, rest = log.partition(_TRACEBACK)
    prefix = before.rpartition("\n")[2] if head else ""
    exceptions: list[str] = []
    place, is_over = "", False
    for line in rest.split("\n")[1:]:
        text = line.removeprefix(prefix)
        if is_over and not text.startswith(_TRACEBACK):
            if text.strip() and not text.startswith(_CHAINED):
                break
        elif frame := _FRAME.match(text):
            place = f"{_package_path(frame.group(1))}, line {frame.group(2)}, in {frame.group(3)}"
        elif exception := _EXCEPTION.match(text):
            exceptions.append(f"{exception.group(1)}{exception.group(2)} ({place})")
            is_over = True
        else:
            is_over = False
    if not exceptions:
        return None
    return "; then ".join(dict.fromkeys([exceptions[0], exceptions[-1]]))


def _package_path(path: str) -> str:
    """A file of an installed package, relative to the folder of packages."""
    return path.rpartition("site-packages/")[2]


@contextmanager
def startup_environment(variables: Mapping[str, str]) -> Iterator[StartupLog]:
    """The environment in which vLLM's processes start.

    Args:
        variables: what they need; those that the caller has set stay as they are. All are
            restored afterwards. Not for two threads at once.
    """
    with tempfile.TemporaryDirectory(prefix="qwen3-rerank-") as folder:
        log, guard_note = None, Path(folder, "guard.txt")
        required = {**variables, NOTE_VARIABLE: str(guard_note)}
        if not any(environment(name) for name in _LOGGING_VARIABLES):
            log = Path(folder, "errors.log")
            config = Path(folder, "logging.json")
            config.write_text(json.dumps(_logging_config(log)), encoding="utf-8")
            required["VLLM_LOGGING_CONFIG_PATH"] = str(config)
        try:
            with environment_defaults(required):
                yield StartupLog(log, guard_note)
        finally:
            _drop_handlers(log)


def _logging_config(log: Path) -> dict[str, Any]:
    level = environment("VLLM_LOGGING_LEVEL") or "ERROR"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {"format": "vLLM %(levelname)s [%(name)s] %(message)s"},
            "bare": {"format": "%(message)s"},
        },
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stderr",
                "formatter": "line",
                "level": level,
            },
            "errors": {
                "class": "logging.FileHandler",
                "filename": str(log),
                "formatter": "bare",
                "level": "ERROR",
            },
        },
        "loggers": {
            name: {"handlers": ["stderr", "errors"], "level": level, "propagate": False}
            for name in _LOGGERS
        },
    }


def _drop_handlers(log: Path | None) -> None:
    """Stop this process's vLLM logging to the file; its children hold it open until they end."""
    for name in _LOGGERS:
        target = logging.getLogger(name)
        for handler in list(target.handlers):
            if isinstance(handler, logging.FileHandler) and handler.baseFilename == str(log):
                target.removeHandler(handler)
                handler.close()
