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

from ...settings import environment, environment_defaults
from .main_guard import NOTE_VARIABLE

_CHOSEN_BY_CALLER: Final = ("VLLM_LOGGING_CONFIG_PATH", "VLLM_CONFIGURE_LOGGING")
# The lines of a traceback: its beginning, each place, the exception, and between two of a chain.
_TRACEBACK: Final = "Traceback (most recent call last):"
_PLACE: Final = re.compile(r' +File "([^"]+)", line (\d+), in (.+)')
_RAISED: Final = re.compile(
    r"(?:\w+\.)*(\w*(?:Error|Exception|Exit|Interrupt)|[A-Z]\w+(?=: ))((?:: .*)?)$"
)
_CHAINED: Final = ("The above exception", "During handling")
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
        """The exceptions of the log's first traceback and where they were raised, in one line."""
        if self.path is None or not self.path.is_file():
            return None
        return raised_in(self.path.read_text(encoding="utf-8", errors="replace"))


def raised_in(log: str) -> str | None:
    """What was raised first and last in the first traceback in `log`, each with its place.

    None if there is no traceback. A worker's own comes before those of the processes that wait for
    it. An exception may have no message, as an assertion has none; its place then says it all.
    """
    before, head, rest = log.partition(_TRACEBACK)
    prefix = before.rpartition("\n")[2] if head else ""
    raised: list[str] = []
    place, is_over = "", False
    for line in rest.split("\n")[1:]:
        text = line.removeprefix(prefix)
        if is_over and not text.startswith(_TRACEBACK):
            if text.strip() and not text.startswith(_CHAINED):
                break
        elif found := _PLACE.match(text):
            place = f"{_short(found.group(1))}, line {found.group(2)}, in {found.group(3)}"
        elif found := _RAISED.match(text):
            raised.append(f"{found.group(1)}{found.group(2)} ({place})")
            is_over = True
        else:
            is_over = False
    return "; then ".join(dict.fromkeys([raised[0], raised[-1]])) if raised else None


def _short(path: str) -> str:
    """A file of an installed package, as it is imported."""
    return path.rpartition("site-packages/")[2]


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
            with environment_defaults(wanted):
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
