"""The outcome of a check, and its severity. Values only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Colour = Literal["green", "amber", "red"]
# None where it is not known.
Measurement = float | bool | None

_ORDER: Final[tuple[Colour, ...]] = ("green", "amber", "red")


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check.

    Attributes:
        name: what was checked.
        colour: green is correct, amber not proven or worth a look, red wrong.
        message: what was observed.
        remedy: what to do; every red finding has it.
        source: the reference for this, such as an issue.
        measured: the numbers behind the message, by name; a name that ends in "logit" is of a
            score, and can be compared with that of another machine.
    """

    name: str
    colour: Colour
    message: str
    remedy: str | None = None
    source: str | None = None
    measured: Mapping[str, Measurement] = field(default_factory=dict)


def worst(findings: Iterable[Finding]) -> Colour:
    """The worst colour; green if there is no finding."""
    return max((finding.colour for finding in findings), key=_ORDER.index, default="green")


def exit_code(findings: Iterable[Finding]) -> int:
    """0 for green, 1 for amber, 2 for red."""
    return _ORDER.index(worst(findings))
