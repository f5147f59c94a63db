"""The pages of READMEs and docs, their code blocks, and how such a block is run. No tests here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced code block of a page."""

    page: str
    line: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return _BLOCK.sub("", read(page))


def blocks(page: Path) -> list[Block]:
    text = read(page)
    name = str(page.relative_to(ROOT))
    return [
        Block(name, text.count("\n", 0, match.start()) + 1, match.group(1), match.group(2))
        for match in _BLOCK.finditer(text)
    ]


def output_of(block: Block) -> str | None:
    """The text block right after `block`, which says what it prints; None if there is none."""
    on_page = blocks(ROOT / block.page)
    follower = on_page[on_page.index(block) + 1 :][:1]
    last_line = block.line + block.code.count("\n") + 1
    if follower and follower[0].language == "text" and follower[0].line == last_line + 2:
        return follower[0].code
    return None


def run_block(block: Block, url: str) -> None:
    """Run Python code as a page has it, alone, with the server at `url` for the page's servers."""
    code = block.code.replace("http://npu-host:8000", url)
    code = re.sub(r"http://npu-\d:8000", url, code)
    # The bundled model stands in for weights that no test may download, and the engine that is here
    # for vLLM, with which tests/e2e/vllm runs the same blocks.
    code = re.sub(r"Qwen/Qwen3-Reranker-(0\.6B|4B|8B)", "tiny", code)
    code = code.replace("VLLMEngine", "LocalEngine")
    # The empty lines make a traceback name the page's own line.
    exec(compile("\n" * block.line + code, block.page, "exec"), {"__name__": "__main__"})


def shown_default(default: Any) -> str:
    """A field's default as the tables of settings show it."""
    return str(default) if isinstance(default, Enum) else repr(default)
