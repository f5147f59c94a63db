"""An interruption leaves the old file or the new one, and no temporary one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qwen3_ascend_retrievers.atomic_files import new_folder, replacing, write_text
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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
