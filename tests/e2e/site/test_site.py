"""The built site (`make docs` builds it and runs this): whole in both languages, and on its own.

Every page, script and style is searched for what a browser would fetch from another host.
"""

from __future__ import annotations

import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import qwen3_ascend_retrievers as package
from qwen3_ascend_retrievers import errors
from qwen3_ascend_retrievers.adapters.metadata import RESULT_KEYS
from qwen3_ascend_retrievers.langchain import Qwen3Rerank as LangChainRerank
from qwen3_ascend_retrievers.llama_index import Qwen3Rerank as LlamaIndexRerank

ROOT = Path(__file__).parents[3]
SITE = ROOT / "site"
# Elements that make a browser fetch what an attribute names; an <a> waits for its reader.
FETCHED = {
    "script": ("src",), "link": ("href",), "img": ("src", "srcset"), "iframe": ("src",),
    "source": ("src", "srcset"), "video": ("src", "poster"), "audio": ("src",), "embed": ("src",),
    "object": ("data",), "use": ("href", "xlink:href"), "image": ("href", "xlink:href"),
    "form": ("action",),
}  # fmt: skip
# Of a <link> these only name another page.
NAMING = {"next", "prev", "alternate", "canonical"}
# A name of XML; a link in a warning of lunr's; and where the theme asks for the figures of a
# repository on GitHub, if mkdocs.yml names one: it does not.
HARMLESS = {"www.w3.org", "bit.ly", "api.github.com"}
OTHER_HOST = re.compile(r"(?:https?:|[\"'`(=])//([\w.-]+\.[a-z]{2,})", re.IGNORECASE)


class Elements(HTMLParser):
    """What a page would fetch, the targets of its links, and its ids."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        if "id" in values:
            self.ids.add(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "link" and values.get("rel") in NAMING:
            return
        self.fetched += [values[name] for name in FETCHED.get(tag, ()) if name in values]
        self.fetched += re.findall(r"url\(([^)]*)\)", values.get("style", ""))


def built(suffix: str) -> list[Path]:
    paths = sorted(SITE.rglob(f"*{suffix}"))
    assert paths, "the site is not built: make docs"
    return paths


@pytest.fixture(scope="module")
def pages() -> dict[Path, Elements]:
    return {path: Elements(path.read_text("utf-8")) for path in built(".html")}


def test_no_page_fetches_from_another_host(pages: dict[Path, Elements]) -> None:
    outside = {
        str(path.relative_to(SITE)): [url for url in page.fetched if urlsplit(url).netloc]
        for path, page in pages.items()
    }
    assert {path: urls for path, urls in outside.items() if urls} == {}
    assert all(len(page.fetched) >= 4 for page in pages.values())


def test_what_pages_fetch_is_there(pages: dict[Path, Elements]) -> None:
    missing = {
        (str(path.relative_to(SITE)), url)
        for path, page in pages.items()
        for url in page.fetched
        if path.name != "404.html" and not url.startswith(("#", "data:"))
        if not (path.parent / unquote(urlsplit(url).path)).exists()
    }
    assert missing == set()


def test_no_style_or_script_names_another_host() -> None:
    styles = [path.read_text("utf-8") for path in built(".css")]
    for style in styles:
        assert re.findall(r"url\(\s*[\"']?(?:https?:)?//", style) == []
        assert re.findall(r"@import[^;]*//", style) == []
    # The index holds the pages' texts, and so their links.
    scripts = [path for path in built(".js") if path.name != "search_index.js"]
    hosts = {host for path in scripts for host in OTHER_HOST.findall(_uncommented(path))}
    assert hosts - HARMLESS == set()
    inline = re.compile(r"<script(?![^>]*application/json)[^>]*>(.*?)</script>", re.DOTALL)
    for path in built(".html"):
        for script in inline.findall(path.read_text("utf-8")):
            assert OTHER_HOST.findall(script) == [], path


def _uncommented(script: Path) -> str:
    return re.sub(r"/\*.*?\*/", "", script.read_text("utf-8"), flags=re.DOTALL)


def test_the_search_of_foreign_hosts_finds_them() -> None:
    page = Elements(
        '<link rel="stylesheet" href="https://fonts.googleapis.com/x.css">'
        '<script src="//cdn.example.com/x.js"></script><a href="https://example.com">x</a>'
    )
    assert [urlsplit(url).netloc for url in page.fetched] == [
        "fonts.googleapis.com",
        "cdn.example.com",
    ]
    assert OTHER_HOST.findall('load("https://unpkg.com/x.js")') == ["unpkg.com"]


def test_every_page_is_there_in_both_languages() -> None:
    sources = {
        str(path.relative_to(ROOT / "docs").with_suffix(".html"))
        for path in (ROOT / "docs").rglob("*.md")
        if not path.name.endswith(".zh.md")
    }
    assert sources <= {str(path.relative_to(SITE)) for path in built(".html")}
    assert {name for name in sources if not (SITE / "zh" / name).is_file()} == set()
    assert '<html lang="zh"' in (SITE / "zh" / "index.html").read_text("utf-8")


def test_links_and_anchors_lead_somewhere(pages: dict[Path, Elements]) -> None:
    for path, page in pages.items():
        if path.name == "404.html":  # shown at any address, its links are the server's root's
            continue
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), (path, link)
            if parts.fragment and target in pages and parts.fragment != "__skip":
                assert unquote(parts.fragment) in pages[target].ids, (path, link)


@pytest.mark.parametrize("path", ["api.html", "zh/api.html"])
def test_the_reference_has_all_that_is_public(path: str) -> None:
    html = (SITE / path).read_text("utf-8")
    ids = Elements(html).ids
    names = {f"qwen3_ascend_retrievers.{name}" for name in package.__all__ if not name.isupper()}
    names |= {f"qwen3_ascend_retrievers.{module}.Qwen3Rerank" for module in FRAMEWORKS}
    trees = [value for value in vars(errors).values() if isinstance(value, type)]
    names |= {f"qwen3_ascend_retrievers.errors.{value.__name__}" for value in trees}
    assert names - ids == set()
    for cell in (*RESULT_KEYS, *package.INSTRUCTIONS):
        assert f"<td><code>{cell}</code></td>" in html, cell


FRAMEWORKS = {"langchain": LangChainRerank, "llama_index": LlamaIndexRerank}


def test_the_reference_shows_defaults_as_values() -> None:
    html = (SITE / "api.html").read_text("utf-8")
    text = unescape(re.sub("<[^>]+>", "", html))
    assert 'overflow: Overflow = "truncate"' in text
    assert "top_n: int | None = -1" in text
    assert "OWN_TOP_N" not in text
    assert "DEFAULTS" not in text


@pytest.mark.parametrize("path", ["api.html", "zh/api.html"])
def test_the_reference_has_every_field(path: str) -> None:
    html = (SITE / path).read_text("utf-8")
    for adapter in FRAMEWORKS.values():
        for name, field in adapter.model_fields.items():
            if field.description and name != "callback_manager":
                assert f"<td><code>{name}</code></td>" in html, name


def test_chinese_lines_are_joined_without_a_space() -> None:
    html = (SITE / "zh" / "index.html").read_text("utf-8")
    # The source breaks the line there.
    assert "把答案提到最前面。本软件包用 Qwen3-Reranker" in html
    html = re.sub(r"<(pre|script).*?</\1>", "", html, flags=re.DOTALL)
    text = re.sub("<.*?>", "|", html)
    assert re.findall("[\u4e00-\u9fff，。：；][ \n]+[\u4e00-\u9fff]", text) == []


def test_the_search_works_without_a_server() -> None:
    script = (SITE / "search" / "search_index.js").read_text("utf-8")
    index = json.loads(script.removeprefix("var __index = "))
    locations = {entry["location"].partition("#")[0] for entry in index["docs"]}
    assert {"langchain.html", "zh/langchain.html", "api.html"} <= locations
    assert {"en", "zh"} <= set(index["config"]["lang"])
