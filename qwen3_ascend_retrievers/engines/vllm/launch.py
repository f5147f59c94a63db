"""Starting vLLM's processes: one engine at a time, and nothing left of one that fails."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from ..._util.locks import Lock
from ...errors import EngineError
from .arguments import blame
from .compat import Vllm
from .config import Options
from .logs import Noted
from .main_guard import check_note, guard_hint
from .processes import Watchdog, Workers, end, engine_processes

# Seconds in which vLLM's processes may end by themselves.
PATIENCE: Final = 5.0


@dataclass(slots=True)
class _Start:
    """The engine that is being started, for another thread that wants it stopped.

    Attributes:
        lock: the environment and vLLM's processes are the whole process's: one start at a time.
        options: whose start it is.
        known: process ids from before.
    """

    lock: Lock
    options: Options | None = None
    known: frozenset[int] = frozenset()


_start: Final = _Start(Lock())


@contextmanager
def starting_for(options: Options) -> Iterator[None]:
    """The time in which the engine of `options`, and no other, is started."""
    with _start.lock:
        _start.options = options
        try:
            yield
        finally:
            _start.options = None


def interrupt(options: Options) -> None:
    """Kill the processes of the engine that is being started; called from another thread."""
    if _start.options is options:
        end(engine_processes(_start.known), patience=0)


def launch(
    vllm: Vllm, arguments: Any, noted: Noted, model: str, extra: Mapping[str, Any]
) -> tuple[Any, Workers]:
    """vLLM's async engine and its processes; none of them is left if it fails.

    Args:
        vllm: the installed version.
        arguments: of its engine.
        noted: what its processes log.
        model: to be named in errors.
        extra: those of the arguments that are the caller's own.

    Raises:
        InvalidInputError: vLLM refuses one of the caller's own.
        EngineError: vLLM does not start; the message has the reason that its processes logged.
    """
    children = multiprocessing.active_children()
    known = _start.known = frozenset(child.pid for child in children if child.pid is not None)
    watchdog = Watchdog()
    try:
        with watchdog.following(known):
            engine = vllm.start(arguments)
        return engine, Workers(engine_processes(known), watchdog)
    except BaseException as error:
        # vLLM, torch and the plugins raise whatever the layer that failed raised.
        Workers(engine_processes(known), watchdog).end(
            PATIENCE if isinstance(error, Exception) else 0
        )
        if not isinstance(error, Exception):
            raise
        check_note(noted.guard)
        cause = noted.cause()
        refusal = blame(error, cause, extra)
        if refusal is not None:
            raise refusal from error
        cause = cause or f"{type(error).__name__}: {error}"
        raise EngineError(
            f"vLLM {vllm.version} could not start {model}: {cause}\n{_advice(cause)}{guard_hint()}"
        ) from error


def _advice(cause: str) -> str:
    words = cause.lower()
    if "memory" in words or "kv cache" in words:
        return (
            "Lower device_memory, max_length or (on a CPU) VLLM_CPU_KVCACHE_SPACE, raise "
            "tensor_parallel_size, or free the device's memory."
        )
    if "dtype" in words or "bfloat16" in words or "float16" in words:
        return "Choose another dtype."
    return "vLLM's own log is on standard error; VLLM_LOGGING_LEVEL=INFO shows more of it."
