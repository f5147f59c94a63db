"""Runs of the installed script in a process, and of the app in this one. No tests here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from qwen3_ascend_retrievers.cli.app import app

SCRIPT = Path(sys.executable).parent / "qwen3-rerank"
TINY = ("--model", "tiny")
# A loaded two-core machine takes its time.
SECONDS = 900


def environment() -> dict[str, str]:
    """The environment of the script's processes: plain and wide output, little memory."""
    return os.environ | {
        "NO_COLOR": "1",
        "COLUMNS": "160",
        "OMP_NUM_THREADS": "1",
        "QWEN3_RERANK_ALLOW_TINY": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
    }


def start(*arguments: str, **more: Any) -> subprocess.Popen[str]:
    """The installed script in a process of its own, its output in pipes."""
    return subprocess.Popen(
        [str(SCRIPT), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        **more,
    )


def run(*arguments: str, stdin: str = "", **more: Any) -> subprocess.CompletedProcess[str]:
    """The same, until it ends."""
    process = start(*arguments, **more)
    try:
        output, errors = process.communicate(stdin, timeout=SECONDS)
    finally:
        process.kill()
    return subprocess.CompletedProcess(arguments, process.returncode, output, errors)


def invoke(*arguments: str, stdin: str | bytes = "", columns: int = 160) -> Result:
    """The app in this process, on a terminal of so many columns."""
    runner = CliRunner(env={"NO_COLOR": "1", "COLUMNS": str(columns)})
    return runner.invoke(app, list(arguments), input=stdin)
