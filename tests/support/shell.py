"""The console script beside this Python, run as a shell would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(sys.executable).parent / "qwen3-rerank"
# A loaded two-core machine takes its time.
SECONDS = 900


def environment() -> dict[str, str]:
    return os.environ | {
        "NO_COLOR": "1",
        "COLUMNS": "160",
        "OMP_NUM_THREADS": "1",
        "QWEN3_RERANK_ALLOW_TINY": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
    }


def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SCRIPT), *arguments],
        input=stdin, capture_output=True, text=True, timeout=SECONDS, env=environment(),
    )  # fmt: skip


def colours(said: str) -> dict[str, str]:
    return {one["name"]: one["colour"] for one in json.loads(said)["findings"]}


def doctor_is_red(url: str, *arguments: str) -> dict[str, str]:
    """What doctor finds red at a server, by name, with remedies; its exit code is checked."""
    done = run("doctor", "--base-url", url, "--json", *arguments)
    found = json.loads(done.stdout)["findings"]
    red = {one["name"]: f"{one['said']} {one['remedy']}" for one in found if one["colour"] == "red"}
    assert done.returncode == (2 if red else done.returncode), done.stdout + done.stderr
    return red
