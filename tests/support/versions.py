"""Runs the adapters' tests with other versions of Python, langchain-core and llama-index-core.

Usage: python tests/support/versions.py [3.10 [oldest | newest]]; without arguments, all in turn.

Makes virtual environments that are thrown away afterwards. No torch goes in, so what loads a model
stays out, and so does what needs langchain-classic, which langchain-core 0.3 does not have.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "pyproject.toml"
# Those that the package declares.
PYTHONS = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PROJECT.read_text("utf-8"))
PINS = {
    "oldest": ["langchain-core==0.3.0", "llama-index-core==0.13.0"],
    "newest": ["langchain-core", "llama-index-core<0.15"],
}
TOOLS = ["pytest", "pytest-asyncio", "pytest-randomly", "hypothesis"]
TESTS = [
    "tests/adapters/langchain",
    "tests/adapters/llama_index",
    "tests/adapters/test_base.py",
    "tests/testing/test_conformance.py",
    "tests/testing/test_fake.py",
    "--ignore=tests/adapters/langchain/test_classic.py",
]
# Old frameworks warn about newer libraries.
OPTIONS = "-q -o filterwarnings="


# Of what was installed, for the table at the end.
NAMED = """
from importlib.metadata import version
print(", ".join(f"{one} {version(one)}" for one in ("langchain-core", "llama-index-core")))
"""


def interpreter(version: str) -> str | None:
    """The path of `pythonX.Y`, among pyenv's or on PATH; None if there is none."""
    known = sorted((Path.home() / ".pyenv/versions").glob(f"{version}.*/bin/python"))
    return str(known[-1]) if known else shutil.which(f"python{version}")


def outcome(base: str, pins: str) -> str:
    """Whether the tests passed, and with what; the first word says it."""
    with tempfile.TemporaryDirectory() as folder:
        python = str(Path(folder) / "bin/python")
        packages = [*PINS[pins], *TOOLS, "-e", str(ROOT)]
        try:
            subprocess.run([base, "-m", "venv", folder], check=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        except subprocess.CalledProcessError:
            return f"failed to install {', '.join(PINS[pins])}"
        named = subprocess.run([python, "-c", NAMED], check=True, capture_output=True, text=True)
        # By the environment, for the runs of pytest inside the tests too.
        environment = {**os.environ, "PYTEST_ADDOPTS": OPTIONS}
        tests = subprocess.run([python, "-m", "pytest", *TESTS], cwd=ROOT, env=environment)
        return f"{'failed' if tests.returncode else 'passed'} with {named.stdout.strip()}"


def main(version: str | None = None, pins: str | None = None) -> int:
    """1 if anything failed, or no interpreter was found; a missing one is named, no failure."""
    outcomes = {}
    for one in PYTHONS if version is None else (version,):
        base = interpreter(one)
        if base is None:
            outcomes[f"Python {one}"] = "not found among pyenv's or on PATH"
            continue
        for chosen in PINS if pins is None else (pins,):
            print(f"Python {one}, {chosen} frameworks:", flush=True)
            outcomes[f"Python {one}, {chosen}"] = outcome(base, chosen)
    for name, said in outcomes.items():
        print(f"{name}: {said}")
    words = {said.partition(" ")[0] for said in outcomes.values()}
    return 0 if "passed" in words and "failed" not in words else 1


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
