"""Documents from files, folders, JSON lines and standard input."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from qwen3_ascend_retrievers.document_files import NamedText, read_documents
from qwen3_ascend_retrievers.errors import InvalidInputError


def test_each_kind_of_input_in_the_given_order(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_bytes(b"\xef\xbb\xbfwhole\n\nfile\n")
    (tmp_path / "many.jsonl").write_text(
        '{"id": 7, "text": "seven\u2028still seven"}\n\n{"text": "none"}\n'
    )
    folder = tmp_path / "folder"
    (folder / ".hidden").mkdir(parents=True)
    (folder / "b").mkdir()
    (folder / ".hidden" / "x.txt").write_text("hidden")
    (folder / "b" / "z.TXT").write_text("\n\nlast")
    (folder / "a.md").write_text("first")
    (folder / "skip.py").write_text("code")
    paths = [str(tmp_path / name) for name in ("one.txt", "many.jsonl", "folder")]
    found = read_documents([*paths, "-"], io.StringIO("l1\r\n\nl3\n"))
    assert found == [
        NamedText(paths[0], "whole\n\nfile\n"),
        NamedText("7", "seven\u2028still seven"),
        NamedText(f"{paths[1]}:3", "none"),
        NamedText(f"{folder}/a.md:1", "first"),
        NamedText(f"{folder}/b/z.TXT:3", "last"),
        NamedText("stdin:1", "l1"),
        NamedText("stdin:3", "l3"),
    ]


def test_a_field_makes_everything_json(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_text('{"body": "a"}\n')
    found = read_documents([str(path), "-"], io.StringIO('{"body": "b", "_id": "x"}'), field="body")
    assert found == [NamedText(f"{path}:1", "a"), NamedText("x", "b")]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"title": 1}\n', "line 2 has no text in the field 'text'"),
        ("a.jsonl", b"[1]\n", "line 1 is JSON, but no object"),
        ("a.jsonl", b"{\n", "line 1 is no JSON"),
        ("a.jsonl", b"[" * 100_000, "line 1 is no JSON"),
        ("a.txt", b"ab\xff", r"not UTF-8 \(byte 2\)"),
        ("gone.txt", None, "cannot be read: No such file"),
        ("a.jsonl", b"\n", "There is no document"),
    ],
)
def test_wrong_input_names_file_and_line(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInputError, match=said):
        read_documents([str(tmp_path / name)], io.StringIO())


def test_standard_input_must_be_utf8() -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b"\xff\n"), encoding="utf-8")
    with pytest.raises(InvalidInputError, match="Standard input is not UTF-8"):
        read_documents(["-"], stdin)
