"""An interruption leaves the old file or the new one, and no temporary one."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from qwen3_ascend_retrievers._util.atomic_files import (
    check_writable,
    new_folder,
    replacing,
    write_bytes,
    write_text,
)
from qwen3_ascend_retrievers.errors import InvalidInputError


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "result.txt"
    write_text(path, "old \udc80")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text(str(1 // 0))
    assert path.read_bytes() == b"old \xed\xb2\x80"
    write_text(path, "new")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["result.txt"]
    assert path.stat().st_mode & 0o444 == 0o444 & ~_umask()


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with pytest.raises(ZeroDivisionError), new_folder(target) as temporary:
        (temporary / "a").write_text(str(1 // 0))
    assert os.listdir(tmp_path) == []
    with new_folder(target) as temporary:
        (temporary / "a").write_text("x")
    assert (target / "a").read_text() == "x"
    assert os.listdir(tmp_path) == ["model"]
    with pytest.raises(InvalidInputError, match="is there already"), new_folder(target):
        pass


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="there is no folder"):
        write_text(tmp_path / "no" / "file", "x")
    with pytest.raises(InvalidInputError, match="it is a folder"):
        write_text(tmp_path, "x")


def test_a_link_stays_and_where_it_leads_is_written(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    for name in ("real", "new"):
        link = tmp_path / f"to-{name}"
        link.symlink_to(Path("far", name))
        (tmp_path / "far" / "real").write_text("old")
        write_text(link, "result")
        assert link.is_symlink()
        assert (tmp_path / "far" / name).read_text() == "result"
    assert sorted(os.listdir(tmp_path / "far")) == ["new", "real"]
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(InvalidInputError, match="loop cannot be written"):
        write_text(loop, "x")
    assert loop.is_symlink()


def test_a_replaced_file_keeps_its_rights_and_a_read_only_one_stays(tmp_path: Path) -> None:
    private, fixed = tmp_path / "private", tmp_path / "fixed"
    private.touch(0o600)
    write_text(private, "result")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    fixed.write_text("old")
    fixed.chmod(0o444)
    with pytest.raises(InvalidInputError, match="fixed cannot be written: it is read-only"):
        write_text(fixed, "new")
    assert fixed.read_text() == "old"


def test_a_fifo_is_written_into_where_no_file_is_needed(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # A reader that is there already, so that no writer waits for one.
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_bytes(fifo, b"result")
        assert os.read(reader, 100) == b"result"
        with pytest.raises(InvalidInputError, match="no regular file"), replacing(fifo):
            pass
        with pytest.raises(InvalidInputError, match="no regular file"):
            check_writable(fifo, only_file=True)
    finally:
        os.close(reader)
    assert fifo.is_fifo()
    assert os.listdir(tmp_path) == ["fifo"]


def test_a_terminal_is_written_into_and_stays_one() -> None:
    ours, theirs = os.openpty()
    device = Path(os.ttyname(theirs))
    write_text(device, "result")
    assert os.read(ours, 6) == b"result"
    assert device.is_char_device()
    os.close(theirs)
    os.close(ours)


def test_a_socket_is_refused_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A socket's whole path may be too long for its address.
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(InvalidInputError, match="no regular file"):
            write_text(tmp_path / "socket", "x")
    assert (tmp_path / "socket").is_socket()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize(("write", "delete"), [(new_folder, "rmtree"), (replacing, "unlink")])
def test_a_second_interrupt_while_deleting_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any, delete: str
) -> None:
    home: Any = shutil if delete == "rmtree" else Path
    deleting, interrupts = getattr(home, delete), [KeyboardInterrupt]

    def interrupted(*arguments: Any, **options: Any) -> None:
        if interrupts:
            raise interrupts.pop()
        deleting(*arguments, **options)

    monkeypatch.setattr(home, delete, interrupted)
    with pytest.raises(KeyboardInterrupt), write(tmp_path / "result"):
        raise KeyboardInterrupt
    assert not interrupts
    assert os.listdir(tmp_path) == []
