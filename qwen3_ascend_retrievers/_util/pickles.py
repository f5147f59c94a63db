"""Frozen dataclasses whose pickles outlive a field that is added at their end."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

Kind = TypeVar("Kind", bound=type)


def loads_older_pickles(kind: Kind) -> Kind:
    """A dataclass with slots, which loads pickles from before its last fields were added.

    They get their defaults. Without this, reading such a field raises AttributeError.
    """

    def set_state(self: Any, state: list[Any]) -> None:
        added = [field.default for field in fields(kind)[len(state) :]]
        for field, value in zip(fields(kind), [*state, *added], strict=True):
            object.__setattr__(self, field.name, value)

    kind.__setstate__ = set_state  # type: ignore[attr-defined]
    return kind
