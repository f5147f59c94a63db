"""How an engine is written down, pickled and copied: by its settings, never with a secret."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import InvalidInputError
from .base import Closing
from .registry import ENGINES, engine_from_config


class Configured(Closing):
    """Pickling, copying and writing down of engines: by their settings, never with a secret.

    A subclass sets `tag`, that of its row in registry.py, and returns from `config()` the JSON-safe
    keyword arguments that rebuild it; a rebuilt engine loads or connects again at first use.
    """

    tag: str

    def config(self) -> dict[str, Any]:
        """JSON-safe constructor arguments, secrets left out."""
        raise NotImplementedError

    def tagged_config(self) -> dict[str, Any]:
        """`config()` with the engine's tag under "engine"."""
        return {"engine": self.tag, **self.config()}

    def unwritten(self) -> list[str]:
        """Arguments with which this engine was made, and which its config leaves out."""
        return []

    def __reduce__(self) -> tuple[Any, ...]:
        return engine_from_config, (self.tagged_config(),)

    def __repr__(self) -> str:
        try:
            config = self.config()
        except AttributeError:
            # Tracebacks show an engine that its arguments kept from being made.
            return f"<{type(self).__name__}, not made>"
        arguments = ", ".join(f"{name}={value!r}" for name, value in config.items())
        return f"{type(self).__name__}({arguments})"


def unwritten_of(engines: Iterable[Any]) -> list[str]:
    """What the configs of engines leave out, each name once."""
    written = [engine for engine in engines if isinstance(engine, Configured)]
    return list(dict.fromkeys(name for engine in written for name in engine.unwritten()))


def scoring_config(engine: Any) -> dict[str, Any]:
    """The tagged config of one of this package's engines, without what no score depends on.

    Raises:
        InvalidInputError: a foreign engine.
    """
    config: dict[str, Any] = _without_transport(engine_to_config(engine))
    return config


def _without_transport(value: Any) -> Any:
    """The same of the engines that an engine is made of."""
    if isinstance(value, list):
        return [_without_transport(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    row = ENGINES.get(str(value.get("engine")))
    dropped = () if row is None else row.transport
    return {name: _without_transport(inner) for name, inner in value.items() if name not in dropped}


def engine_to_config(engine: Any) -> dict[str, Any]:
    """The tagged config of one of this package's engines.

    Raises:
        InvalidInputError: a foreign engine, which only its own code can rebuild.
    """
    if not isinstance(engine, Configured):
        raise InvalidInputError(
            f"An engine of the foreign class {type(engine).__name__} cannot be written down. "
            "Leave it out and set `engine` again after loading."
        )
    return engine.tagged_config()
