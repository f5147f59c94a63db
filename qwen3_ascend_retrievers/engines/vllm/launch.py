"""Starting vLLM's processes: one engine at a time, and nothing left of one that fails."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from ..._util.locks import fork_safe_lock
from ...errors import EngineError
from .arguments import argument_error
from .compat import Vllm
from .config import VLLMConfig
from .logs import StartupLog
from .main_guard import check_guard_note, guard_hint
from .processes import Watchdog, Workers, end_processes, engine_processes

# Seconds in which vLLM's processes may end by themselves.
SHUTDOWN_SECONDS: Final = 5.0


@dataclass(slots=True)
class _PendingStart:
    """The engine that is being started, for another thread that wants it stopped.

    Attributes:
        lock: the environment and vLLM's processes are the whole process's: one start at a time.
        config: whose start it is; None between starts.
        earlier_pids: ids of the child processes from before.
    """

    lock: threading.Lock
    config: VLLMConfig | None = None
    earlier_pids: frozenset[int] = frozenset()


_pending: Final = _PendingStart(fork_safe_lock())


@contextmanager
def starting_for(config: VLLMConfig) -> Iterator[None]:
    """The time in which the engine of `config`, and no other, is started."""
    with _pending.lock:
        _pending.config = config
        try:
            yield
        finally:
            _pending.config = None


def interrupt(config: VLLMConfig) -> None:
    """Kill the processes of the engine that is being started; called from another thread."""
    if _pending.config is config:
        end_processes(engine_processes(_pending.earlier_pids), timeout=0)


def launch(
    vllm: Vllm, arguments: Any, log: StartupLog, model: str, extra: Mapping[str, Any]
) -> tuple[Any, Workers]:
    """vLLM's async engine and its processes; none of them is left if it fails.

    Args:
        vllm: the installed version.
        arguments: of its engine.
        log: what its processes log as errors.
        model: to be named in errors.
        extra: those of the arguments that are the caller's own.

    Raises:
        InvalidInputError: vLLM refuses one of the caller's own.
        EngineError: vLLM does not start; the message has the reason that its processes logged.
    """
    children = multiprocessing.active_children()
    earlier = frozenset(child.pid for child in children if child.pid is not None)
    _pending.earlier_pids = earlier
    watchdog = Watchdog()
    try:
        with watchdog.following(earlier):
            engine = vllm.start(arguments)
        return engine, Workers(engine_processes(earlier), watchdog)
    except BaseException as error:
        # vLLM, torch and the plugins raise whatever the layer that failed raised.
        Workers(engine_processes(earlier), watchdog).end(
            SHUTDOWN_SECONDS if isinstance(error, Exception) else 0
        )
        if not isinstance(error, Exception):
            raise
        check_guard_note(log.guard_note)
        cause = log.cause()
        refusal = argument_error(error, cause, extra)
        if refusal is not None:
            raise refusal from error
        cause = cause or f"{type(error).__name__}: {error}"
        raise EngineError(
            f"vLLM {vllm.version} could not start {model}: {cause}\n"
            f"{_start_advice(cause)}{guard_hint()}"
        ) from error


def _start_advice(cause: str) -> str:
    words = cause.lower()
    if "memory" in words or "kv cache" in words:
        return (
            "Lower device_memory, max_length or (on a CPU) VLLM_CPU_KVCACHE_SPACE, raise "
            "tensor_parallel_size, or free the device's memory."
        )
    if "dtype" in words or "bfloat16" in words or "float16" in words:
        return "Choose another dtype."
    return "vLLM's own log is on standard error; VLLM_LOGGING_LEVEL=INFO shows more of it."
