"""Version numbers, as far as this package compares them. No package is looked up here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_VERSION_NUMBER: Final = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?(?:[._-]?(a|b|rc|dev)\d*)?")


@dataclass(frozen=True, slots=True)
class Version:
    """A release such as 0.23.0.

    Attributes:
        text: as the package writes it.
        release: its first three numbers.
        is_prerelease: whether it is an alpha, beta, candidate or development version of it.
    """

    text: str
    release: tuple[int, int, int]
    is_prerelease: bool

    def __str__(self) -> str:
        return self.text


def parse_version(text: str) -> Version | None:
    """The version in `text`; None if it is no version, like the "dev" of a checkout."""
    match = _VERSION_NUMBER.match(text)
    if match is None:
        return None
    major, minor, patch = (int(number or 0) for number in match.groups()[:3])
    return Version(text, (major, minor, patch), match.group(4) is not None)
