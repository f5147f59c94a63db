"""README and docs: their code runs, their commands and links exist, both languages agree.

What a code block computes is tested where the code is; here a block must run to its end, and print
what the page says that it prints.
"""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import typer.main

import qwen3_ascend_retrievers as package
from qwen3_ascend_retrievers.adapters.metadata import RESULT_KEYS
from qwen3_ascend_retrievers.cli.app import app
from qwen3_ascend_retrievers.langchain import Qwen3Rerank
from qwen3_ascend_retrievers.llama_index import Qwen3Rerank as LlamaIndexRerank
from support.rerank_answers import rerank_only_setup
from support.rerank_server import RerankServer

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
GUIDES = sorted(path for path in (ROOT / "docs").rglob("*.md") if not path.name.endswith(".zh.md"))
# Each page with its Chinese twin.
TWINS = [(ENGLISH, CHINESE), *((page, page.with_suffix(".zh.md")) for page in GUIDES)]
PAGES = [page for pair in TWINS for page in pair if page.exists()]
PAGES += [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]

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
WHOLE = [block for page, _ in TWINS for block in blocks(page) if block.language == "python"]
# What a block may be: run here, checked here, or no code of this package's users.
LANGUAGES = {"python", "bash", "text", "diff", "nginx", "yaml"}


def _place(block: Block) -> str:
    return f"{block.page}:{block.line}"


def _output(block: Block) -> str | None:
    """The text block right after `block`, which says what it prints; None if there is none."""
    on_page = blocks(ROOT / block.page)
    follower = on_page[on_page.index(block) + 1 :][:1]
    last_line = block.line + block.code.count("\n") + 1
    if follower and follower[0].language == "text" and follower[0].line == last_line + 2:
        return follower[0].code
    return None


def _run(block: Block, url: str) -> None:
    code = block.code.replace("http://npu-host:8000", url)
    code = re.sub(r"http://npu-\d:8000", url, code)
    # The bundled model stands in for weights that no test may download, and the engine that is here
    # for vLLM, with which tests/e2e/vllm runs the same blocks.
    code = re.sub(r"Qwen/Qwen3-Reranker-(0\.6B|4B|8B)", "tiny", code)
    code = code.replace("VLLMEngine", "LocalEngine")
    # The empty lines make a traceback name the page's own line.
    exec(compile("\n" * block.line + code, block.page, "exec"), {"__name__": "__main__"})


@pytest.mark.filterwarnings("ignore:The function `loads` is in beta")
@pytest.mark.parametrize("block", WHOLE, ids=_place)
def test_a_code_block_runs_alone(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    with RerankServer(rerank_only_setup()) as server:
        _run(block, server.url)
    output = _output(block)
    assert output is None or capsys.readouterr().out == output


def test_some_blocks_say_what_they_print() -> None:
    assert [block.page for block in WHOLE if _output(block)] != []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_all_code_is_fenced_and_says_its_language(page: Path) -> None:
    assert {block.language for block in blocks(page)} <= LANGUAGES
    prose = re.sub(r"^ *```.*?^ *```$", "", read(page), flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^::: .*\n(    .*\n)*", "", prose, flags=re.MULTILINE)
    assert re.findall(r"(?<=\n\n)    .*", prose) == []


@pytest.mark.parametrize("block", COMMANDS, ids=_place)
def test_an_option_in_a_command_exists(block: Block) -> None:
    group: Any = typer.main.get_command(app)
    for line in block.code.replace("\\\n", " ").splitlines():
        if not line.startswith("qwen3-rerank "):
            continue
        words = shlex.split(line, comments=True)[1:]
        if words[0] == "--install-completion":
            continue
        command = group.commands[words[0]]
        options = {name for option in command.params for name in option.opts}
        assert {word for word in words[1:] if word.startswith("-")} <= options, line


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


_EACH_PAGE = pytest.mark.parametrize(
    ("page", "twin"), TWINS, ids=[str(page.relative_to(ROOT)) for page, _ in TWINS]
)


@_EACH_PAGE
def test_both_languages_have_the_same_code_blocks(page: Path, twin: Path) -> None:
    english, chinese = (
        [(block.language, block.code) for block in blocks(path)] for path in (page, twin)
    )
    assert english == chinese
    assert read(page) != read(twin)


@_EACH_PAGE
def test_both_languages_have_the_same_shape(page: Path, twin: Path) -> None:
    assert _shape(page) == _shape(twin)


@_EACH_PAGE
def test_both_languages_link_to_the_same_pages(page: Path, twin: Path) -> None:
    english, chinese = (set(_LINK.findall(read(path))) for path in (page, twin))
    # Each README links to the other, and a Chinese page to Chinese ones.
    english -= {CHINESE.name}
    chinese = {_english(target) for target in chinese} - {ENGLISH.name}
    assert english == chinese
    twins = {other.name for _, other in TWINS}
    inside = {target for target in map(str, _LINK.findall(read(twin))) if target.endswith(".md")}
    assert {target for target in inside if f"{Path(target).stem}.zh.md" in twins} == set()


def _english(target: str) -> str:
    return re.sub(r"\.zh\.md$", ".md", target)


@_EACH_PAGE
def test_a_chinese_page_is_in_chinese(page: Path, twin: Path) -> None:
    """No paragraph, and no cell of more than a few words, was left in English."""
    prose = _BLOCK.sub("", re.sub(r"^::: .*\n(    .*\n)*", "", read(twin), flags=re.MULTILINE))
    # The presets' tasks are what the model reads: English.
    prose = "\n".join(
        line
        for line in prose.splitlines()
        if not any(task in line for task in package.INSTRUCTIONS.values())
    )
    parts = [part for block in prose.split("\n\n") for part in re.split(r"\n(?=[|#-])", block)]
    english = [part for part in parts if len(re.findall(r"[A-Za-z]{2,}", _without_code(part))) > 6]
    assert [part for part in english if not re.search("[\u4e00-\u9fff]{2}", part)] == []


def _without_code(text: str) -> str:
    return re.sub(r"`[^`]*`|<!--.*?-->|\(http[^)]*\)", "", text)


@pytest.mark.parametrize(
    ("name", "adapter"), [("langchain", Qwen3Rerank), ("llama-index", LlamaIndexRerank)]
)
def test_a_guide_has_every_setting_with_its_default(name: str, adapter: Any) -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| `([^`]+)` \|", read(ROOT / "docs" / f"{name}.md"), re.MULTILINE
    )
    fields = {
        field_name: _shown_default(field.default)
        for field_name, field in adapter.model_fields.items()
        if field_name != "callback_manager"
    }
    assert dict(rows) == fields


def _shown_default(default: Any) -> str:
    return str(default) if isinstance(default, Enum) else repr(default)


def test_the_reference_has_every_metadata_key() -> None:
    rows = re.findall(r"^\| `(rerank_\w+)` \|", read(ROOT / "docs" / "api.md"), re.MULTILINE)
    assert tuple(rows) == RESULT_KEYS


def _shape(page: Path) -> list[str]:
    """Levels of headings, table rows with the code in their first cell, list items, references."""
    shape = []
    for line in _BLOCK.sub("", read(page)).splitlines():
        if line.startswith("#"):
            shape.append(line.partition(" ")[0])
        elif line.startswith("|"):
            shape.append("row " + " ".join(re.findall(r"`[^`]+`", line.split("|")[1])))
        elif re.match(r"\d+\. |- ", line):
            shape.append("item")
        elif line.startswith((":::", "    ", "<!--")):
            shape.append(line)
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
