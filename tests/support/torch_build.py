"""Prints the pip arguments for torch's small CPU build; says what pip will download otherwise.

Usage: python torch_build.py, with the interpreter of the environment that torch goes into. Standard
output is for pip's command line and may be empty; what a user should know is on standard error.

On Linux, PyPI's torch needs CUDA. An index that the user set is never gone behind: a company's
network may have a reason for it.
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
REQUIREMENTS = Path(__file__).parents[2] / "requirements-demo.txt"
# An index that needs longer for its list of torch's files is no index to download from.
_SECONDS = 5
# Of version 2.13.0 for Python 3.11 and 3.12: the one wheel, and all 29 that pip would take.
_CPU_SIZE, _CUDA_SIZE = "0.2 GB", "2.7 GB"
_INDEX_OPTION = re.compile(r"^(?:global|install|:env:)\.(?:(?:extra-)?index-url|no-index)=", re.M)


def pinned_version(requirements: str) -> str:
    """The version in the line `torch==VERSION; MARKER`."""
    pin = re.search(r"^torch==([\d.]+)", requirements, re.M)
    assert pin is not None, "requirements-demo.txt must pin torch."
    return pin[1]


def names_an_index(configuration: str) -> bool:
    """Whether what `pip config list` prints, environment included, has an index of the user's."""
    return _INDEX_OPTION.search(configuration) is not None


def pip_arguments(torch_version: str, cpu_index: str = CPU_INDEX) -> tuple[list[str], str]:
    """The arguments for pip, and a line for the user about what will be downloaded."""
    own_index = names_an_index(_pip("config", "list"))
    place = "your package index" if own_index else cpu_index
    if own_index:
        available = _has_cpu_build(torch_version)
    else:
        alone = ("--index-url", cpu_index, "--timeout", str(_SECONDS), "--retries", "0")
        available = _has_cpu_build(torch_version, *alone, seconds=2 * _SECONDS)
    if available:
        line = f"torch {torch_version}: the CPU build, {_CPU_SIZE}, from {place}."
        return [] if own_index else ["--extra-index-url", cpu_index], line
    way_out = f"{cpu_index} make demo" if own_index else "MIRROR make demo, a mirror of that index"
    return [], (
        f"torch {torch_version}: no CPU build found at {place}, so pip may take the one with CUDA, "
        f"{_CUDA_SIZE}. To avoid it: Ctrl-C, then PIP_EXTRA_INDEX_URL={way_out}."
    )


def _has_cpu_build(torch_version: str, *options: str, seconds: float | None = None) -> bool:
    listed = _pip("index", "versions", "torch", *options, seconds=seconds)
    # Not the line INSTALLED, nor LATEST.
    available = re.search(r"^Available versions: (.*)$", listed, re.M)
    return available is not None and f"{torch_version}+cpu" in available[1].split(", ")


def _pip(*arguments: str, seconds: float | None = None) -> str:
    """What pip prints; nothing if it fails or takes longer than that."""
    command = [sys.executable, "-m", "pip", *arguments]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return ""
    return process.stdout if process.returncode == 0 else ""


def main() -> None:
    torch_version = pinned_version(REQUIREMENTS.read_text("utf-8"))
    try:
        installed = version("torch").partition("+")[0] == torch_version
    except PackageNotFoundError:
        installed = False
    # Elsewhere PyPI's build is the small one.
    if installed or platform.system() != "Linux":
        return
    arguments, line = pip_arguments(torch_version)
    print(line, file=sys.stderr)
    print(*arguments)


if __name__ == "__main__":
    main()
