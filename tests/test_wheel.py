"""The built wheel in an empty environment, as a user with a remote model has it.

Needs the package index: the only test that leaves this machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from word_server import WordServer

import qwen3_ascend_retrievers

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


def _run(*command: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS, check=False, env=environment
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
    needed = {"py.typed", "tiny_model/model.safetensors", "tiny_model/tokenizer.json"}
    assert {f"{package}/{name}" for name in needed} <= names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    folders = {name.partition("/")[0] for name in names}
    assert folders == {package, f"{package}-{qwen3_ascend_retrievers.__version__}.dist-info"}


def test_without_extras_and_then_with_langchain_core_only(python: Path) -> None:
    """One test, because the installation in its middle changes the environment of both halves."""
    lines = _run(str(python), "-I", "-c", BASE).splitlines()
    assert lines[0] == qwen3_ascend_retrievers.__version__
    assert lines[1] == "[1, 0]"
    assert "pip install 'qwen3-ascend-retrievers[langchain]'" in lines[2]
    assert "pip install 'qwen3-ascend-retrievers[llama-index]'" in lines[3]
    _run(str(python), "-m", "pip", "install", "--quiet", "langchain-core")
    with WordServer() as server:
        printed = _run(str(python), "-I", "-c", REMOTE, server.url)
    assert printed.strip() == "[('c', 0.982)]"
    assert _run(str(python), "-I", "-c", ABSENT).strip() == "[]"
