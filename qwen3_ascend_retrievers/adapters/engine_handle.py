"""A component's engine: chosen at first use, shared with the component's copies."""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakValueDictionary

from .._util.locks import fork_safe_lock
from ..engines.base import Engine
from ..engines.registry import choose_engine

_choosing: Final = fork_safe_lock()


class EngineHandle:
    """One component's hold on an engine that was chosen for its settings.

    Copies of a component share the engine; whoever of them lets go last has to close it. A handle
    that was forgotten holds nothing, and no handle makes two components differ.
    """

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._settings: tuple[Any, ...] = ()
        # Weak: a copy that nobody keeps does not keep the engine open either.
        self._holders = WeakValueDictionary({id(self): self})

    def engine(self, *settings: Any) -> Engine:
        """The engine for these arguments of `choose_engine`; a new one if they have changed."""
        with _choosing:
            if self._engine is None or self._settings != settings:
                engine = choose_engine(*settings)
                self._leave()
                self._engine, self._settings = engine, settings
            return self._engine

    def share(self) -> EngineHandle:
        """A handle on the same engine, for a copy."""
        twin = EngineHandle()
        with _choosing:
            twin._engine, twin._settings = self._engine, self._settings
            twin._holders = self._holders
            self._holders[id(twin)] = twin
        return twin

    def release(self) -> Engine | None:
        """Let go; the engine if nobody else holds it, for the caller to close."""
        with _choosing:
            engine, others = self._engine, self._leave()
            self._engine = None
            return None if others else engine

    def _leave(self) -> bool:
        """Stop sharing; whether others still do."""
        others = self._holders
        del others[id(self)]
        self._holders = WeakValueDictionary({id(self): self})
        return bool(others)

    # Pydantic compares private attributes when it compares components.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, EngineHandle)

    __hash__ = None  # type: ignore[assignment]
