"""The built wheel where users install it: an empty environment, and vllm-ascend's container.

Needs the package index: the only tests that leave this machine.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

import jinja2
import pytest
from packaging.utils import canonicalize_name

import qwen3_ascend_retrievers
from qwen3_ascend_retrievers.core.prompt import DEFAULT_INSTRUCTION, prompt
from support.ascend_pins import CONTAINER_EXTRAS, PINS
from support.rerank_answers import rerank_only_setup
from support.rerank_server import RerankServer

ROOT = Path(__file__).parent.parent
# An index may be slow; a build that is stuck still ends.
SECONDS = 600

HEAVY = ["torch", "transformers", "tokenizers", "vllm", "llama_index", "numpy"]

BASE = """
from importlib.util import find_spec
import sys
import qwen3_ascend_retrievers as package
from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.errors import MissingDependencyError
from qwen3_ascend_retrievers.testing import FakeEngine

assert "site-packages" in package.__file__, package.__file__
print(package.__version__)
ranking = Reranker(FakeEngine()).rank("cat", ["a dog", "a cat"])
print([one.index for one in ranking.results])
for adapter in ("langchain", "llama_index"):
    try:
        __import__(f"qwen3_ascend_retrievers.{adapter}")
    except MissingDependencyError as error:
        print(error)
"""

REMOTE = """
import sys
from langchain_core.documents import Document
from qwen3_ascend_retrievers.langchain import Qwen3Rerank

documents = [Document("about dogs", id="d"), Document("all about cats", id="c")]
with_server = Qwen3Rerank(base_url=sys.argv[1], top_n=1)
best = with_server.compress_documents(documents, "cats")
print([(one.id, round(one.metadata["relevance_score"], 3)) for one in best])
"""

ABSENT = f"""
from importlib.util import find_spec
print([name for name in {HEAVY!r} if find_spec(name)])
"""


TEMPLATES = """
import sys
from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.serving.command import TEMPLATE
from qwen3_ascend_retrievers.testing import FakeEngine
from qwen3_ascend_retrievers.tools.explanation import explain
from qwen3_ascend_retrievers.tools.explanation.report import html_report

explanation = explain(Reranker(FakeEngine()), "cat", ["a <b>", "a cat"])
print(html_report([explanation], ["first", "second"]))
print("-- the other --")
sys.stdout.write(TEMPLATE.read_text("utf-8"))
"""


def _run(*command: str, cwd: Path | None = None) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env=environment,
        cwd=cwd,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution as an index's own builders would."""
    folder = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT))
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel and what it must have, no extra."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    interpreter = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    _run(str(interpreter), "-m", "pip", "install", "--quiet", str(wheel))
    return interpreter


def test_the_wheel_holds_the_package_the_model_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    package = "qwen3_ascend_retrievers"
    needed = {"py.typed", "models/tiny_model/model.safetensors", "models/tiny_model/tokenizer.json"}
    assert {f"{package}/{name}" for name in needed} <= names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    folders = {name.partition("/")[0] for name in names}
    assert folders == {package, f"{package}-{qwen3_ascend_retrievers.__version__}.dist-info"}


def test_the_metadata_says_whose_it_is_and_what_for(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = message_from_bytes(archive.read(name))
    assert metadata["Author"] == "qwen3-ascend-retrievers contributors"
    assert {"langchain", "llama-index", "reranking", "ascend"} <= set(
        metadata["Keywords"].split(",")
    )
    # No address exists yet, so none is given.
    assert metadata["Author-email"] is None
    assert metadata["Project-URL"] is None


def test_the_source_distribution_has_what_its_pages_speak_of(wheel: Path) -> None:
    (path,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    pages = {"README.md", "README.zh-CN.md", "CONTRIBUTING.md"}
    needed = {"Makefile", "requirements-demo.txt", "requirements-dev.txt", "examples/quickstart.py"}
    assert pages | needed <= names
    for page in pages:
        text = (ROOT / page).read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^)#:\s]+)\)|src(?:set)?=\"([^\"]+)\"", text)
        assert links
        files = {path for link in links for path in link if (ROOT / path).is_file()}
        assert files - names == set(), page
    # Nothing that was only lying about.
    assert {name.partition("/")[0] for name in names} & {"build", "dist", ".venv"} == set()


def test_the_readme_s_install_lines_work_in_a_checkout() -> None:
    block = re.search(r"^(?:pip install .*\n)+", (ROOT / "README.md").read_text("utf-8"), re.M)
    assert block is not None
    commands = [shlex.split(line, comments=True) for line in block[0].splitlines()]
    assert [command[:2] for command in commands] == [["pip", "install"]] * 6
    for command in commands:
        _run(sys.executable, "-m", *command, "--dry-run", "--quiet", cwd=ROOT)


def test_without_extras_and_then_with_langchain_core_only(python: Path) -> None:
    """One test, because the installation in its middle changes the environment of both halves."""
    lines = _run(str(python), "-I", "-c", BASE).splitlines()
    assert lines[0] == qwen3_ascend_retrievers.__version__
    assert lines[1] == "[1, 0]"
    assert "pip install 'qwen3-ascend-retrievers[langchain]'" in lines[2]
    assert "pip install 'qwen3-ascend-retrievers[llama-index]'" in lines[3]
    _run(str(python), "-m", "pip", "install", "--quiet", "langchain-core")
    with RerankServer(rerank_only_setup()) as server:
        printed = _run(str(python), "-I", "-c", REMOTE, server.url)
    assert printed.strip() == "[('c', 0.982)]"
    assert _run(str(python), "-I", "-c", ABSENT).strip() == "[]"


def test_both_packaged_templates_render(python: Path) -> None:
    report, _, template = _run(str(python), "-I", "-c", TEMPLATES).partition("-- the other --\n")
    assert report.lstrip().startswith("<!doctype html>")
    assert "a &lt;b&gt;" in report
    messages = [{"role": "query", "content": "q"}, {"role": "document", "content": "d"}]
    # The settings of vLLM and transformers.
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    rendered = environment.from_string(template).render(messages=messages)
    assert rendered == prompt("q", "d", DEFAULT_INSTRUCTION)


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment in which pip finds vllm-ascend's pins installed, by their metadata alone."""
    folder = tmp_path_factory.mktemp("container")
    venv.create(folder)
    (site,) = folder.rglob("site-packages")
    for name, version in PINS.items():
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        written = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        (info / "METADATA").write_text(written, encoding="utf-8")
    return folder


def _would_install(container: Path, *arguments: str) -> dict[str, str]:
    """Names and versions of what `pip install` would put into the container."""
    pip = (sys.executable, "-m", "pip", "--python", str(container))
    said = _run(*pip, "install", "--dry-run", "--quiet", "--report", "-", *arguments)
    found = [one["metadata"] for one in json.loads(said)["install"]]
    return {canonicalize_name(one["name"]): one["version"] for one in found}


@pytest.mark.parametrize("extras", CONTAINER_EXTRAS)
def test_in_the_container_pip_moves_none_of_vllm_ascends_pins(
    container: Path, wheel: Path, extras: str
) -> None:
    """What pip decides beside them, torch-npu included, of which no index here has a copy."""
    installs = _would_install(container, f"{wheel}[{extras}]")
    assert {"qwen3-ascend-retrievers", "langchain-core"} <= set(installs)
    assert {name: installs[name] for name in PINS if name in installs} == {}


def test_the_extras_resolve_under_vllm_ascends_pins(
    container: Path, wheel: Path, tmp_path: Path
) -> None:
    """With the real metadata of each pin that the extras need, and nothing as large as torch."""
    pins = tmp_path / "pins.txt"
    pins.write_text("".join(f"{one}=={PINS[one]}\n" for one in PINS), encoding="utf-8")
    extras = ",".join(CONTAINER_EXTRAS)
    installs = _would_install(
        container, "--ignore-installed", "--constraint", str(pins), f"{wheel}[{extras}]"
    )
    needed = {name: installs[name] for name in PINS if name in installs}
    assert needed == {name: PINS[name] for name in ("pydantic", "tokenizers")}


def test_a_pin_that_would_be_moved_is_seen(container: Path) -> None:
    assert "pydantic" in _would_install(container, f"pydantic>{PINS['pydantic']}")
