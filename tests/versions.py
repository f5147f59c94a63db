"""Runs the adapters' tests with other versions of Python, langchain-core and llama-index-core.

Usage: python tests/versions.py 3.10 [oldest | newest]

Makes a virtual environment that is thrown away afterwards. No torch goes in, so what loads a model
stays out, and so does what needs langchain-classic, which langchain-core 0.3 does not have.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PINS = {
    "oldest": ["langchain-core==0.3.0", "llama-index-core==0.13.0"],
    "newest": ["langchain-core", "llama-index-core<0.15"],
}
TOOLS = ["pytest", "pytest-asyncio", "pytest-randomly", "hypothesis"]
TESTS = [
    "tests/langchain",
    "tests/llamaindex",
    "tests/test_adapter.py",
    "tests/test_conformance.py",
    "tests/test_fake.py",
    "--ignore=tests/langchain/test_langchain_classic.py",
]
# Old frameworks warn about newer libraries. And tests/langchain must not look like a package
# named langchain, which langchain-core 0.3 tries to import.
OPTIONS = "-q -o filterwarnings= --import-mode=importlib"


def interpreter(version: str) -> str:
    """The path of `pythonX.Y`, on PATH or among pyenv's."""
    known = sorted((Path.home() / ".pyenv/versions").glob(f"{version}.*/bin/python"))
    found = shutil.which(f"python{version}") if not known else str(known[-1])
    if found is None:
        raise SystemExit(f"No python{version} was found on PATH or in ~/.pyenv/versions.")
    return found


def main(version: str, pins: str = "oldest") -> int:
    """Pytest's exit status."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([interpreter(version), "-m", "venv", folder], check=True)
        python = str(Path(folder) / "bin/python")
        packages = [*PINS[pins], *TOOLS, "-e", str(ROOT)]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        # By the environment, for the runs of pytest inside the tests too.
        environment = {**os.environ, "PYTEST_ADDOPTS": OPTIONS}
        return subprocess.run(
            [python, "-m", "pytest", *TESTS], cwd=ROOT, env=environment
        ).returncode


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
