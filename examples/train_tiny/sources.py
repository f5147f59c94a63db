"""Fetch and read the training texts; every one is redistributable and comes from Debian or PyPI.

Nothing here knows about queries, tokens or models: it turns packages into passages.
"""

import ast
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from html.parser import HTMLParser
from pathlib import Path

DEBIAN = {
    "wordnet-base": "WordNet 3.0 licence",
    "python3.11-doc": "PSF-2.0",
    "postgresql-doc-15": "PostgreSQL",
    "python-django-doc": "BSD-3-Clause",
}
# Only docstrings are read, and only by ast: no code of these packages runs.
PYPI = {
    "aerosandbox==4.2.10": "MIT",
    "astropy==8.0.2": "BSD-3-Clause",
    "chemicals==1.5.2": "MIT",
    "control==0.10.2": "BSD-3-Clause",
    "fluids==1.3.1": "MIT",
    "ht==1.2.0": "MIT",
    "metpy==1.7.1": "BSD-3-Clause",
    "networkx==3.6.1": "BSD-3-Clause",
    "nltk==3.10.4": "Apache-2.0",
    "numpy==2.4.6": "BSD-3-Clause",
    "openmdao==3.45.1": "Apache-2.0",
    "pandas==3.1.1": "BSD-3-Clause",
    "scikit-image==0.26.0": "BSD-3-Clause",
    "scikit-learn==1.9.1": "BSD-3-Clause",
    "scipy==1.17.1": "BSD-3-Clause",
    "skyfield==1.55": "MIT",
    "statsmodels==0.15.0": "BSD-3-Clause",
    "sympy==1.14.0": "BSD-3-Clause",
    "thermo==0.6.1": "MIT",
}
_HTML_FOLDERS = ("python3.11/html", "postgresql-doc-15/html", "python-django-doc/html")
_SKIPPED_PAGES = re.compile(
    r"genindex|search|contents|copyright|license|release|whatsnew|changelog"
)
_SKIPPED_CODE = re.compile(r"/tests?/|/_?vendor|/externals?/|/extern/|\.dist-info/")


@dataclass(frozen=True)
class Passage:
    """One text with its title; `synonyms` are other names of the title (WordNet only)."""

    title: str
    text: str
    source: str
    synonyms: tuple[str, ...] = ()


def fetch(cache: Path) -> None:
    """Download and unpack every package that `cache` does not hold yet; nothing is installed."""
    root, wheels = cache / "debian", cache / "wheels"
    for folder in (root, wheels):
        folder.mkdir(parents=True, exist_ok=True)
    for name in DEBIAN:
        if not list(cache.glob(f"{name}_*.deb")):
            subprocess.run(["apt-get", "download", "-q", name], cwd=cache, check=True)
            package = next(cache.glob(f"{name}_*.deb")).resolve()
            subprocess.run(["dpkg", "-x", str(package), str(root)], check=True)
    have = {wheel.name.split("-")[0].replace("_", "-") for wheel in wheels.glob("*.whl")}
    missing = [pin for pin in PYPI if pin.split("==")[0] not in have]
    if missing:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(wheels)]
        subprocess.run([*command, *missing], check=True)


def load(cache: Path) -> list[Passage]:
    """All passages, in a fixed order; reading takes a minute, so it is done once per cache."""
    kept = cache / "passages.jsonl"
    if not kept.exists():
        lines = "".join(json.dumps(astuple(passage)) + "\n" for passage in _read(cache))
        kept.write_text(lines, "utf-8")
    rows = map(json.loads, kept.read_text("utf-8").splitlines())
    return [Passage(*row[:3], tuple(row[3])) for row in rows]


def _read(cache: Path) -> list[Passage]:
    passages = list(_wordnet(cache / "debian/usr/share/wordnet"))
    docs = cache / "debian/usr/share/doc"
    for folder in _HTML_FOLDERS:
        # Debian may link the html folder elsewhere: resolve it, then walk it.
        for page in sorted((docs / folder).rglob("*.html")):
            if not _SKIPPED_PAGES.search(page.name):
                passages += _html_sections(page, folder.split("/")[0])
    for wheel in sorted((cache / "wheels").glob("*.whl")):
        passages += _docstrings(wheel)
    return _distinct(passages)


def _distinct(passages: list[Passage]) -> list[Passage]:
    seen: set[str] = set()
    kept = []
    for passage in passages:
        key = passage.text[:160]
        if key not in seen:
            seen.add(key)
            kept.append(passage)
    return kept


def _wordnet(folder: Path) -> Iterator[Passage]:
    for part in ("noun", "verb", "adj", "adv"):
        for line in (folder / f"data.{part}").read_text("utf-8").splitlines():
            if line.startswith("  "):
                continue
            head, _, gloss = line.partition(" | ")
            fields = head.split()
            count = int(fields[3], 16)
            names = [w.split("(")[0].replace("_", " ") for w in fields[4 : 4 + 2 * count : 2]]
            yield Passage(names[0], gloss.strip(), "wordnet", tuple(dict.fromkeys(names[1:])))


class _Sections(HTMLParser):
    """Cut a page at its headings and at definition terms; keep prose, drop code and navigation."""

    heads = frozenset({"h1", "h2", "h3", "h4", "h5", "dt"})
    dropped = frozenset({"script", "style", "pre", "nav", "head", "table", "footer"})

    def __init__(self) -> None:
        super().__init__()
        self.sections: list[tuple[str, list[str]]] = [("", [])]
        self._title: list[str] | None = None
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        hidden_div = tag == "div" and any(v and "sphinxsidebar" in v for _, v in attrs)
        if tag in self.dropped or (self._hidden and tag == "div") or hidden_div:
            self._hidden += 1
        elif tag in self.heads:
            self._title = []

    def handle_endtag(self, tag: str) -> None:
        if self._hidden and (tag in self.dropped or tag == "div"):
            self._hidden -= 1
        elif tag in self.heads and self._title is not None:
            self.sections.append((_clean("".join(self._title)), []))
            self._title = None

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            (self._title if self._title is not None else self.sections[-1][1]).append(data)


def _html_sections(page: Path, source: str) -> Iterator[Passage]:
    parser = _Sections()
    parser.feed(page.read_text("utf-8", "replace"))
    for title, pieces in parser.sections:
        text = _clean("".join(pieces))
        title = re.sub(r"^[\dA-Z]{1,3}(\.\d+)*\.\s+|[¶#]+$", "", title).strip()
        if title != "Navigation" and 1 <= len(title.split()) <= 25 and len(text.split()) >= 12:
            yield Passage(title, text, source)


def _docstrings(wheel: Path) -> Iterator[Passage]:
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if not name.endswith(".py") or _SKIPPED_CODE.search("/" + name):
                continue
            try:
                tree = ast.parse(archive.read(name))
            except (SyntaxError, ValueError):
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    text = _prose(ast.get_docstring(node) or "")
                    if len(text.split()) >= 15:
                        yield Passage(node.name, text, wheel.name.split("-")[0])


def _prose(doc: str) -> str:
    """The docstring without doctests, directives, underlines and references."""
    doc = re.split(r"\n\s*(?:Examples?|References|See Also)\n\s*-{3,}", doc)[0]
    doc = re.sub(r":\w+:`~?([^`<]*)[^`]*`", r"\1", doc)
    dropped = re.compile(r"\s*(?:>>>|\.\.\.|\.\. |[-=~^]{3,}|:\w+:|\\)|.*\\(?:frac|left|begin)")
    return _clean("\n".join(line for line in doc.splitlines() if not dropped.match(line)))


def _clean(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("``", "").replace("¶", "")).strip()
