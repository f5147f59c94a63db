"""Atomic writing of files and folders: an interruption leaves the old or the new one whole."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from glob import escape
from pathlib import Path

from ..errors import InvalidInputError


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`; see `write_bytes`.

    Raises:
        InvalidInputError: `path` may not be written; see `check_writable`.
    """
    write_bytes(path, text.encode("utf-8", "surrogatepass"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`: into a FIFO or character device, else replacing what is there.

    Raises:
        InvalidInputError: `path` may not be written; see `check_writable`.
    """
    check_writable(path)
    if _is_written_in_place(_mode(path)):
        path.write_bytes(content)
        return
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that replaces it if the block succeeds, else is deleted.

    A link stays, and its target is replaced. The new file has the old one's permissions.

    Raises:
        InvalidInputError: `path` is no regular file, or may not be written.
    """
    check_writable(path, only_file=True)
    target = _link_target(path)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp's files are for their owner alone; results are as readable as any new file.
        mode = _mode(target)
        temporary.chmod(0o666 & ~_umask() if mode is None else stat.S_IMODE(mode))
        os.replace(temporary, target)
    finally:
        _delete_surely(partial(temporary.unlink, missing_ok=True))


def remove_leftovers(path: Path) -> None:
    """Delete what `replacing(path)` left when its process was killed; only where no other runs."""
    target = _link_target(path)
    for leftover in target.parent.glob(f".{escape(target.name)}.*.part"):
        leftover.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that is renamed to it if the block succeeds, else deleted.

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
        _delete_surely(partial(shutil.rmtree, temporary, ignore_errors=True))


def check_writable(path: Path, *, only_file: bool = False) -> None:
    """Raise InvalidInputError unless `path` could be created, replaced or written into.

    Args:
        path: a new file, or an existing one that is not read-only; links are followed.
        only_file: refuse FIFOs and character devices, such as /dev/stdout, too.
    """
    try:
        obstacle = _obstacle(path, only_file)
    except OSError as error:
        obstacle = f"{error.strerror}."
    if obstacle:
        raise InvalidInputError(f"{path} cannot be written: {obstacle}")


def _obstacle(path: Path, only_file: bool) -> str | None:
    mode, folder = _mode(path), _link_target(path).parent
    in_place = _is_written_in_place(mode) and not only_file
    if mode is None:
        if not folder.is_dir():
            return f"there is no folder {folder}."
    elif stat.S_ISDIR(mode):
        return "it is a folder. Name a file in it."
    elif not (stat.S_ISREG(mode) or in_place):
        return "it is no regular file. Name another one."
    # Root may write anything; but a file that nobody may write was meant to stay.
    elif not (mode & 0o222 and os.access(path, os.W_OK)):
        return "it is read-only. Name another file, or allow writing."
    if not in_place and not os.access(folder, os.W_OK):
        return f"{folder} may not be changed."
    return None


def _link_target(path: Path) -> Path:
    """The final target of a link; `path` itself if it is none."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _mode(path: Path) -> int | None:
    """Type and permissions of the file at `path`, links followed; None if there is nothing."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _is_written_in_place(mode: int | None) -> bool:
    """Whether such a file is written into and never replaced: a FIFO, a terminal, /dev/null."""
    return mode is not None and (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode))


def _delete_surely(delete: Callable[[], None]) -> None:
    """Delete what is half-written, although a second Ctrl-C or SIGTERM comes meanwhile."""
    try:
        delete()
    except BaseException:
        delete()
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
