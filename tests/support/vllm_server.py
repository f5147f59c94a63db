"""Starts `python -m vllm.entrypoints.openai.api_server` on a free port and stops it by its pid."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from qwen3_ascend_retrievers.core.prompt import DEFAULT_INSTRUCTION, document_part, query_part
from qwen3_ascend_retrievers.models.files import TINY_FOLDER

OVERRIDES = {
    "architectures": ["Qwen3ForSequenceClassification"],
    "classifier_from_token": ["no", "yes"],
    "is_original_qwen3_reranker": True,
}
# A loaded two-core machine takes its time.
_START_SECONDS = 600
_STOP_SECONDS = 60


def template_text(newlines: int) -> str:
    """The prompt as a Jinja template whose file ends in so many newlines; the official has two."""

    def content(role: str) -> str:
        contents = f"messages | selectattr('role', 'eq', '{role}') | map(attribute='content')"
        return "{{ " + contents + " | first }}"

    task = "{{ instruction | default('" + DEFAULT_INSTRUCTION + "', true) }}"
    whole = query_part(task, content("query")) + document_part(content("document"))
    return whole.rstrip("\n") + "\n" * newlines


@contextmanager
def vllm_server(
    log: Path, *arguments: str, overrides: bool = True, max_model_len: int = 2048
) -> Iterator[str]:
    """The address of a running server; its output goes to `log`."""
    port = _free_port()
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server",
        "--model", str(TINY_FOLDER), "--runner", "pooling", "--dtype", "float32",
        "--host", "127.0.0.1", "--port", str(port), "--max-model-len", str(max_model_len),
        "--enforce-eager", *arguments,
    ]  # fmt: skip
    if overrides:
        command += ["--hf-overrides", json.dumps(OVERRIDES)]
    process = _started(command, log)
    try:
        _wait_until_healthy(process, port, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        _stop(process)


def _started(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "OMP_NUM_THREADS": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    with log.open("wb") as out:
        # A session of its own, so that the engine's processes can be ended with it.
        return subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )


def _wait_until_healthy(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", timeout=30).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    raise AssertionError("vLLM did not start:\n" + log.read_text("utf-8", "replace")[-5000:])


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(_STOP_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
