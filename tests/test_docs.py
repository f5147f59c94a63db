"""README and docs: their code runs, their commands and links exist, both languages agree.

What a code block computes is tested where the code is; here a block must run to its end, and print
what the page says that it prints.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

import qwen3_ascend_retrievers as package
from qwen3_ascend_retrievers.adapters.metadata import RESULT_KEYS
from qwen3_ascend_retrievers.cli.app import app
from qwen3_ascend_retrievers.langchain import Qwen3Rerank
from qwen3_ascend_retrievers.llama_index import Qwen3Rerank as LlamaIndexRerank
from support.pages import (
    CHINESE,
    ENGLISH,
    ROOT,
    Block,
    blocks,
    output_of,
    prose,
    read,
    run_block,
    shown_default,
)
from support.rerank_answers import rerank_only_setup
from support.rerank_server import RerankServer

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

GUIDES = sorted(path for path in (ROOT / "docs").rglob("*.md") if not path.name.endswith(".zh.md"))
# Each page with its Chinese twin.
TWINS = [(ENGLISH, CHINESE), *((page, page.with_suffix(".zh.md")) for page in GUIDES)]
PAGES = [page for pair in TWINS for page in pair if page.exists()]
PAGES += [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]

_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
_PICTURE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)|\bsrc(?:set)?=\"([^\"]+)\"")

BLOCKS = [block for page in PAGES for block in blocks(page)]
COMMANDS = [one for one in BLOCKS if one.language in {"bash", "sh", "shell", "console"}]
# Copied as they stand, so each must run alone. The Chinese ones are proven to be the same.
WHOLE = [block for page, _ in TWINS for block in blocks(page) if block.language == "python"]
# What a block may be: run here, checked here, or no code of this package's users.
LANGUAGES = {"python", "bash", "text", "diff", "nginx", "yaml"}


@pytest.mark.filterwarnings("ignore:The function `loads` is in beta")
@pytest.mark.parametrize("block", WHOLE, ids=str)
def test_a_code_block_runs_alone(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    with RerankServer(rerank_only_setup()) as server:
        run_block(block, server.url)
    output = output_of(block)
    assert output is None or capsys.readouterr().out == output


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_all_code_is_fenced_and_says_its_language(page: Path) -> None:
    assert {block.language for block in blocks(page)} <= LANGUAGES
    text = re.sub(r"^ *```.*?^ *```$", "", read(page), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^::: .*\n(    .*\n)*", "", text, flags=re.MULTILINE)
    assert re.findall(r"(?<=\n\n)    .*", text) == []


@pytest.mark.parametrize("block", COMMANDS, ids=str)
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


@pytest.mark.parametrize("block", COMMANDS, ids=str)
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
def test_both_languages_show_the_same_pictures(page: Path, twin: Path) -> None:
    shown = _pictures(page)
    assert shown == _pictures(twin)
    assert [path for path in shown if not (page.parent / path).is_file()] == []


def _pictures(page: Path) -> list[str]:
    return [inline or source for inline, source in _PICTURE.findall(read(page))]


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
    text = re.sub(r"^::: .*\n(    .*\n)*", "", prose(twin), flags=re.MULTILINE)
    # The presets' tasks are what the model reads: English.
    text = "\n".join(
        line
        for line in text.splitlines()
        if not any(task in line for task in package.INSTRUCTIONS.values())
    )
    parts = [part for block in text.split("\n\n") for part in re.split(r"\n(?=[|#-])", block)]
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
        field_name: shown_default(field.default)
        for field_name, field in adapter.model_fields.items()
        if field_name != "callback_manager"
    }
    assert dict(rows) == fields


def test_the_reference_has_every_metadata_key() -> None:
    rows = re.findall(r"^\| `(rerank_\w+)` \|", read(ROOT / "docs" / "api.md"), re.MULTILINE)
    assert tuple(rows) == RESULT_KEYS


def _shape(page: Path) -> list[str]:
    """Levels of headings, table rows with the code in their first cell, list items, references."""
    shape = []
    for line in prose(page).splitlines():
        if line.startswith("#"):
            shape.append(line.partition(" ")[0])
        elif line.startswith("|"):
            shape.append("row " + " ".join(re.findall(r"`[^`]+`", line.split("|")[1])))
        elif re.match(r"\d+\. |- ", line):
            shape.append("item")
        elif line.startswith((":::", "    ", "<!--")):
            shape.append(line)
    return shape


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
