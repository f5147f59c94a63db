"""Writing files and folders so that an interruption leaves the old one or the new one, no half."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InvalidInputError


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, replacing what is there.

    Raises:
        InvalidInputError: the folder does not exist or may not be written.
    """
    write_bytes(path, text.encode("utf-8", "surrogatepass"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, replacing what is there.

    Raises:
        InvalidInputError: the folder does not exist or may not be written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place if the block ends well, else vanishes.

    Raises:
        InvalidInputError: the folder does not exist or may not be written.
    """
    check_writable(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp's files are for their owner alone; results are as readable as any new file.
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that is renamed to it if the block ends well, else removed.

    Raises:
        InvalidInputError: `path` is there already, or its parent may not be written.
    """
    if path.exists() or path.is_symlink():
        raise InvalidInputError(f"{path} is there already and is not overwritten. Take a new name.")
    check_writable(path)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_writable(path: Path) -> None:
    """Raise InvalidInputError unless a file could be made at `path`."""
    folder = path.parent
    if not folder.is_dir():
        raise InvalidInputError(f"{path} cannot be written: there is no folder {folder}.")
    if path.is_dir():
        raise InvalidInputError(f"{path} cannot be written: it is a folder. Name a file in it.")
    if not os.access(folder, os.W_OK):
        raise InvalidInputError(f"{path} cannot be written: {folder} may not be changed.")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
