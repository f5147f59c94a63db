"""How an engine gets to where it is needed: written down, or as a function that makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...engines.base import Engine, checked_engine
from ...engines.cascade import CascadeEngine
from ...engines.configured import Configured, engine_to_config
from ...engines.registry import engine_from_config
from ...errors import InvalidInputError

Recipe = dict[str, Any] | Callable[[], Engine]


def recipe_of(engine: Any) -> Recipe:
    """What another process makes the same engine of.

    Args:
        engine: one of this package's engines, its written form, or a function without arguments
            that makes an engine.

    Raises:
        InvalidInputError: it is none of these, or has a key that is not written down.
    """
    if isinstance(engine, Mapping):
        config = dict(engine)
        # A wrong name or argument is better known here than from an actor.
        engine_from_config(config)
        return config
    if isinstance(engine, Configured):
        if missing := engine.unwritten():
            raise InvalidInputError(
                f"{type(engine).__name__} has {' and '.join(missing)}, which are never written "
                "down, and its copies on other machines would lack. Set QWEN3_RERANK_API_KEY "
                "where they run, or pass a function that makes the engine there."
            )
        return engine_to_config(engine)
    if callable(engine):
        return engine  # type: ignore[no-any-return]
    raise InvalidInputError(
        "engine must be an engine of this package, its written form, or a function that makes an "
        f"engine, not {type(engine).__name__}."
    )


def is_cascade(recipe: Recipe) -> bool:
    """Whether it is known to make a cascade; of a function nothing is known before it runs."""
    return isinstance(recipe, Mapping) and recipe.get("engine") == CascadeEngine.tag


def engine_of(recipe: Recipe) -> Engine:
    """The engine of a recipe.

    Raises:
        InvalidInputError: the function made something else.
    """
    engine: Any = recipe() if callable(recipe) else engine_from_config(recipe)
    return checked_engine("engine", engine)
