"""README and docs: their code runs, their commands and links exist, both languages agree.

What a code block computes is tested where the code is; here a block must run to its end.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import qwen3_ascend_retrievers as package
from qwen3_ascend_retrievers.langchain import Qwen3Rerank
from support.rerank_answers import rerank_only_setup
from support.rerank_server import RerankServer

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
PAGES = [ENGLISH, CHINESE, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)#\s]+)(?:#[^)\s]*)?\)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced code block of a page."""

    page: str
    line: int
    language: str
    code: str


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path) -> list[Block]:
    text = read(page)
    name = str(page.relative_to(ROOT))
    return [
        Block(name, text.count("\n", 0, found.start()) + 1, found.group(1), found.group(2))
        for found in _BLOCK.finditer(text)
    ]


BLOCKS = [block for page in PAGES for block in blocks(page)]
COMMANDS = [one for one in BLOCKS if one.language in {"bash", "sh", "shell", "console"}]
# Copied as they stand, so each must run alone. The Chinese ones are proven to be the same.
WHOLE = [one for one in blocks(ENGLISH) if one.language == "python"]
# Pages whose blocks build on each other, and on the package's public names.
GUIDES = [page for page in PAGES if page.parent != ROOT and "```python" in read(page)]


def _place(block: Block) -> str:
    return f"{block.page}:{block.line}"


def _run(block: Block, names: dict[str, Any], url: str) -> None:
    code = block.code.replace("http://npu-host:8000", url)
    # The bundled model stands in for weights that no test may download.
    code = re.sub(r"Qwen/Qwen3-Reranker-(0\.6B|4B|8B)", "tiny", code)
    # The empty lines make a traceback name the page's own line.
    exec(compile("\n" * block.line + code, block.page, "exec"), names)


@pytest.mark.parametrize("block", WHOLE, ids=_place)
def test_a_code_block_of_the_readme_runs_alone(block: Block) -> None:
    with RerankServer(rerank_only_setup()) as server:
        _run(block, {"__name__": "__main__"}, server.url)


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_the_code_of_a_guide_runs_from_top_to_bottom(page: Path) -> None:
    names = {one: getattr(package, one) for one in package.__all__}
    names |= {"__name__": "__main__", "Qwen3Rerank": Qwen3Rerank}
    with RerankServer(rerank_only_setup()) as server:
        for block in blocks(page):
            if block.language == "python":
                _run(block, names, server.url)


@pytest.mark.parametrize("block", COMMANDS, ids=_place)
def test_a_make_target_or_extra_in_a_command_exists(block: Block) -> None:
    targets = set(re.findall(r"^([\w-]+):", read(ROOT / "Makefile"), re.MULTILINE))
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    extras = set(project["optional-dependencies"])
    for line in block.code.splitlines():
        command = line.partition("#")[0].strip()
        if found := re.search(r"\bmake ([\w-]+)$", command):
            assert found.group(1) in targets, line
        for named in re.findall(rf"(?:{project['name']}|'\.)\[([\w,-]+)\]", command):
            assert set(named.split(",")) <= extras, line
        if found := re.match(r"python (\S+\.py)", command):
            assert (ROOT / found.group(1)).is_file(), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = _LINK.findall(read(page))
    inside = [target for target in targets if not re.match(r"\w+:", target)]
    assert [one for one in inside if not (page.parent / one).exists()] == []


def test_both_readmes_have_the_same_code_blocks() -> None:
    english, chinese = (
        [(one.language, one.code) for one in blocks(page)] for page in (ENGLISH, CHINESE)
    )
    assert english == chinese
    assert len(english) >= 6


def test_both_readmes_have_the_same_shape() -> None:
    assert _shape(ENGLISH) == _shape(CHINESE)


def test_both_readmes_link_to_the_same_pages() -> None:
    english, chinese = (set(_LINK.findall(read(page))) for page in (ENGLISH, CHINESE))
    assert english - {CHINESE.name} == chinese - {ENGLISH.name}


def _shape(page: Path) -> list[str]:
    """Levels of headings, rows of tables with the code in their first cell, and list items."""
    shape = []
    for line in _BLOCK.sub("", read(page)).splitlines():
        if line.startswith("#"):
            shape.append(line.partition(" ")[0])
        elif line.startswith("|"):
            shape.append("row " + " ".join(re.findall(r"`[^`]+`", line.split("|")[1])))
        elif line.startswith("- "):
            shape.append("item")
    return shape


def test_the_two_commands_come_first() -> None:
    first = blocks(ENGLISH)[0].code.split("\n")
    assert [line.split("#")[0].strip() for line in first] == ["make demo", "make test", ""]


def test_the_architecture_names_every_room() -> None:
    folder = ROOT / "qwen3_ascend_retrievers"
    entries = {path.name + "/" * path.is_dir() for path in folder.iterdir()}
    rooms = entries - {"__init__.py", "__pycache__/", "py.typed"}
    assert len(rooms) + 2 <= 18
    page = read(ROOT / "docs" / "architecture.md")
    rows = [line for line in page.splitlines() if line.startswith("| ")][1:]
    assert {room for room in rooms if f"`{room}" not in page} == set()
    assert len(rows) <= 16
    paths = {path for row in rows for path in re.findall(r"`([^`]+)`", row.split("|")[1])}
    assert {path for path in paths if not (folder / path).exists()} == set()
