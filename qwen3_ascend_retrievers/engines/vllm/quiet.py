"""vLLM's processes get an environment that keeps their logs off standard output, while they start.

Errors in that time also go to a file, since vLLM tells the reason of a failed start only there.
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

from ...settings import completing, environment
from .main_guard import NOTE_VARIABLE

_CHOSEN_BY_CALLER: Final = ("VLLM_LOGGING_CONFIG_PATH", "VLLM_CONFIGURE_LOGGING")
# The last line of a traceback, with what stands before it in worker processes' logs cut off.
_RAISED: Final = re.compile(r"^(?:[\w.]*\.)?(\w*(?:Error|Exception)): (.+)$", re.MULTILINE)
_LOGGERS: Final = ("vllm", "vllm_ascend")


@dataclass(frozen=True, slots=True)
class Noted:
    """What vLLM's processes logged as errors.

    Attributes:
        path: the file with it, or None where the caller chose vLLM's logging.
        guard: the file in which a worker that makes an engine of its own says so.
    """

    path: Path | None
    guard: Path

    def cause(self) -> str | None:
        """The first exception of the log, in one line."""
        if self.path is None or not self.path.is_file():
            return None
        found = _RAISED.search(self.path.read_text(encoding="utf-8", errors="replace"))
        return None if found is None else f"{found.group(1)}: {found.group(2).strip()}"


@contextmanager
def starting(variables: Mapping[str, str]) -> Iterator[Noted]:
    """The environment in which vLLM's processes start.

    Args:
        variables: what they need; those that the caller has set stay as they are. All are as
            before afterwards. Not for two threads at once.
    """
    with tempfile.TemporaryDirectory(prefix="qwen3-rerank-") as folder:
        log, guard = None, Path(folder, "guard.txt")
        wanted = {**variables, NOTE_VARIABLE: str(guard)}
        if not any(environment(name) for name in _CHOSEN_BY_CALLER):
            log = Path(folder, "errors.log")
            config = Path(folder, "logging.json")
            config.write_text(json.dumps(_logging(log)), encoding="utf-8")
            wanted["VLLM_LOGGING_CONFIG_PATH"] = str(config)
        try:
            with completing(wanted):
                yield Noted(log, guard)
        finally:
            _drop_handlers(log)


def _logging(log: Path) -> dict[str, Any]:
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
    """This process's vLLM logs to the file no more; its children hold it open until they end."""
    for name in _LOGGERS:
        target = logging.getLogger(name)
        for handler in list(target.handlers):
            if isinstance(handler, logging.FileHandler) and handler.baseFilename == str(log):
                target.removeHandler(handler)
                handler.close()
