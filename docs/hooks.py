"""What the site needs beyond its pages: links into the repository, tables of fields, no other host.

mkdocs calls the functions whose names begin with `on_`. Pages stay ordinary Markdown, whose links
work in the repository as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from qwen3_ascend_retrievers import INSTRUCTIONS

ROOT = Path(__file__).parent.parent

LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+)([^)#\s]+)(#[^)\s]*)?\)")
FIELDS = re.compile(r"<!-- fields of ([\w.]+) -->")
# A line's end is a space in the page, which Chinese has none of.
WIDE = "\u3000-\u303f\u4e00-\u9fff\uff00-\uffef"
LINE_END = re.compile(
    f"(?<=[{WIDE}])\n *(?=[{WIDE}\\[])"
    # After a full-width mark nothing has one, but a new block does.
    "|(?<=[\u3001\u3002\uff08\uff0c\uff1a\uff1b])\n *(?!\\d+\\. |```)(?=[\\w`])"
)
HEADS = {
    "fields": "| field | default | meaning |",
    "presets": "| name | the task that the model reads |",
}
CHINESE_HEADS = {
    "fields": "| 字段 | 默认值 | 含义（英文原文） |",
    "presets": "| 名称 | 模型读到的任务 |",
}
PRESETS = "<!-- presets -->"
LUNR = {"lunr.multi.min.js", "lunr.stemmer.support.min.js", "lunr.zh.min.js"}
# The theme's script names it for browsers without ResizeObserver and for pages with diagrams.
OTHER_HOST = "https://unpkg.com/"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with its generated tables, and links that stay inside the site."""

    def inside(match: re.Match[str]) -> str:
        text, up, path, _ = match.groups()
        folder = page.file.src_uri.count("/")
        if up.count("../") <= folder:
            return match.group()
        return _copied_file(text, path, folder, config, files)

    markdown = LINK.sub(inside, LINE_END.sub("", markdown))
    heads = CHINESE_HEADS if page.file.src_uri.endswith(".zh.md") else HEADS
    markdown = FIELDS.sub(lambda match: "\n".join(_field_table(match.group(1), heads)), markdown)
    return markdown.replace(PRESETS, "\n".join(_preset_table(heads)))


def on_post_build(config: MkDocsConfig) -> None:
    """Take the theme's addresses of another host out of its scripts, and what is never loaded."""
    for script in Path(config.site_dir).rglob("*.js"):
        text = script.read_text("utf-8")
        if OTHER_HOST in text:
            script.write_text(text.replace(OTHER_HOST, ""), "utf-8")
    # The theme's files for debugging it, and for languages that this site does not have.
    for path in Path(config.site_dir).rglob("*"):
        unused = path.parent.name == "lunr" or (path.parent.name == "min" and path.name not in LUNR)
        if path.suffix == ".map" or (path.suffix == ".js" and unused):
            path.unlink()


def _copied_file(text: str, path: str, folder: int, config: MkDocsConfig, files: Files) -> str:
    """A link to a copy of one of the repository's files; the bare text for a folder or a page."""
    source = ROOT / path
    if not source.is_file() or source.suffix == ".md":
        return text
    target = f"repository/{path}"
    if files.get_file_from_path(target) is None:
        files.append(File.generated(config, target, abs_src_path=str(source)))
    return f"[{text}]({'../' * folder}{target})"


def _field_table(path: str, heads: dict[str, str]) -> Iterator[str]:
    """The fields of a pydantic model, from its own descriptions."""
    module, _, name = path.rpartition(".")
    model: Any = getattr(import_module(module), name)
    yield heads["fields"]
    yield "|---|---|---|"
    for field_name, field in model.model_fields.items():
        if field.description:
            default = getattr(field.default, "value", field.default)
            meaning = " ".join(field.description.split()).replace("|", "\\|")
            yield f"| `{field_name}` | `{default!r}` | {meaning} |"


def _preset_table(heads: dict[str, str]) -> Iterator[str]:
    yield heads["presets"]
    yield "|---|---|"
    for name, task in INSTRUCTIONS.items():
        yield f"| `{name}` | {task} |"
