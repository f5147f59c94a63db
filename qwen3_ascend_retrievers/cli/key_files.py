"""Where the command line takes a key from: a file, never an argument that other users can see."""

from __future__ import annotations

from pathlib import Path

from ..errors import InvalidInputError
from ..tools.documents.files import read_text


def read_key_file(path: Path) -> str:
    """The key in a file, without spaces around it.

    Raises:
        InvalidInputError: the file cannot be read, or is empty.
    """
    key = read_text(path).strip()
    if not key:
        raise InvalidInputError(f"{path} is empty. Put the server's key into it.")
    return key
