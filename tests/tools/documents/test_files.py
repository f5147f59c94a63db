"""Documents from files, folders, JSON lines and standard input."""

from __future__ import annotations

import codecs
import io
import os
import threading
from pathlib import Path

import pytest

from qwen3_ascend_retrievers.errors import InvalidInputError
from qwen3_ascend_retrievers.tools.documents.files import NamedText, read_documents


def test_each_kind_of_input_in_the_given_order(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_bytes(b"\xef\xbb\xbfwhole\n\nfile\n")
    (tmp_path / "many.jsonl").write_text(
        '{"id": 7, "text": "seven\u2028still seven"}\n\n{"text": "none"}\n'
        '{"_id": "", "text": "blank"}\n'
    )
    folder = tmp_path / "folder"
    (folder / ".hidden").mkdir(parents=True)
    (folder / "b").mkdir()
    (folder / ".hidden" / "x.txt").write_text("hidden")
    (folder / "b" / "z.TXT").write_text("\n\nlast")
    (folder / "a.md").write_text("first")
    (folder / "skip.py").write_text("code")
    paths = [str(tmp_path / name) for name in ("one.txt", "many.jsonl", "folder")]
    documents = read_documents([*paths, "-"], io.StringIO("l1\r\n\nl3\n"))
    assert documents == [
        NamedText(paths[0], "whole\n\nfile\n"),
        NamedText("7", "seven\u2028still seven"),
        NamedText(f"{paths[1]}:3", "none"),
        NamedText(f"{paths[1]}:4", "blank"),
        NamedText(f"{folder}/a.md:1", "first"),
        NamedText(f"{folder}/b/z.TXT:3", "last"),
        NamedText("stdin:1", "l1"),
        NamedText("stdin:3", "l3"),
    ]


def test_a_field_makes_everything_json(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_text('{"body": "a"}\n')
    documents = read_documents(
        [str(path), "-"], io.StringIO('{"body": "b", "_id": "x"}'), field="body"
    )
    assert documents == [NamedText(f"{path}:1", "a"), NamedText("x", "b")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("A.JSONL", b"{\n", "line 1 is no JSON"),
        ("a.jsonl", b'{"text": "x"}\n{"title": 1}\n', "line 2 has no text in the field 'text'"),
        ("a.jsonl", b"[1]\n", "line 1 is JSON, but no object"),
        ("a.jsonl", b"{\n", "line 1 is no JSON"),
        ("a.jsonl", b"[" * 100_000, "line 1 is no JSON"),
        ("a.jsonl", b'{"text": "x", "text": "y"}', "the key 'text' is there twice"),
        ("a.jsonl", b'{"text": "x", "n": Infinity}', "Infinity is no JSON number"),
        ("a.jsonl", b'{"text": "x", "_id": true}', "'_id' is True. It must be a text or a whole"),
        ("a.jsonl", b'{"text": "x", "_id": null, "id": [1]}', r"'id' is \[1\]. It must be"),
        ("a.txt", b"ab\xff", r"not UTF-8 \(byte 2\)"),
        ("gone.txt", None, "cannot be read: No such file"),
        ("long" * 100, None, "cannot be read: File name too long"),
        ("a.jsonl", b"\n", "There is no document"),
    ],
)
def test_wrong_input_names_file_and_line(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInputError, match=message):
        read_documents([str(tmp_path / name)], io.StringIO())


@pytest.mark.parametrize(("paths", "field"), [(["a.md", ""], None), (["a.md"], "")])
def test_an_empty_name_is_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paths: list[str], field: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.md").write_text('{"": "a", "text": "b"}')
    with pytest.raises(InvalidInputError, match="A path or the field's name is empty"):
        read_documents(paths, io.StringIO(), field=field)


@pytest.mark.parametrize("field", [None, "text"])
def test_standard_input_must_be_utf8(field: str | None) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b'{"text": "\xff"}\n'), encoding="utf-8")
    with pytest.raises(InvalidInputError, match="Standard input is not UTF-8"):
        read_documents(["-"], stdin, field=field)


def test_a_subfolder_that_cannot_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("a")
    locked = tmp_path / "locked"
    locked.mkdir()
    (locked / "b.txt").write_text("b")
    locked.chmod(0)
    tmp_path.chmod(0o755)
    # Relative paths, and a codec imported before, because nobody may pass the folders above.
    codecs.lookup("utf-8-sig")
    monkeypatch.chdir(tmp_path)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(InvalidInputError, match="locked cannot be read: Permission denied"):
            read_documents(["."], io.StringIO())
    finally:
        if root:
            os.seteuid(0)
        locked.chmod(0o700)


def test_a_folder_s_fifos_and_linked_folders_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("a")
    (tmp_path / "linked.md").symlink_to("a.md")
    (tmp_path / "up").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "z.md")
    documents = read_documents([str(tmp_path)], io.StringIO())
    assert documents == [NamedText(f"{tmp_path}/{name}:1", "a") for name in ("a.md", "linked.md")]
    (tmp_path / "lost.md").symlink_to("gone.md")
    with pytest.raises(InvalidInputError, match=r"lost\.md cannot be read"):
        read_documents([str(tmp_path)], io.StringIO())


def test_a_fifo_that_is_named_is_read(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_text, args=("text",))
    writer.start()
    documents = read_documents([str(fifo)], io.StringIO())
    writer.join()
    assert documents == [NamedText(str(fifo), "text")]
