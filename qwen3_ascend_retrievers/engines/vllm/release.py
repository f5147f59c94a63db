"""Version numbers, as far as this package compares them. No package is looked up here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_NUMBER: Final = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?(?:[._-]?(a|b|rc|dev)\d*)?")


@dataclass(frozen=True, slots=True)
class Version:
    """A release such as 0.23.0.

    Attributes:
        text: as the package writes it.
        release: its first three numbers.
        pre: whether it came before that release: an alpha, beta, candidate or development one.
    """

    text: str
    release: tuple[int, int, int]
    pre: bool

    def __str__(self) -> str:
        return self.text


def parse_version(text: str) -> Version | None:
    """The version that `text` writes; None if it is no version, like the "dev" of a checkout."""
    found = _NUMBER.match(text)
    if found is None:
        return None
    major, minor, patch = (int(one or 0) for one in found.groups()[:3])
    return Version(text, (major, minor, patch), found.group(4) is not None)
