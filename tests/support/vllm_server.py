"""Starts `python -m vllm.entrypoints.openai.api_server` on a free port and stops it by its pid."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qwen3_ascend_retrievers.core.prompt import DEFAULT_INSTRUCTION, document_part, query_part
from qwen3_ascend_retrievers.models.files import TINY_FOLDER
from support.server_process import free_port, server_process

OVERRIDES = {
    "architectures": ["Qwen3ForSequenceClassification"],
    "classifier_from_token": ["no", "yes"],
    "is_original_qwen3_reranker": True,
}
_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}


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
    log: Path,
    *arguments: str,
    overrides: bool = True,
    max_model_len: int = 2048,
    python: str = sys.executable,
) -> Iterator[str]:
    """The address of a running server; its output goes to `log`."""
    port = free_port()
    command = [
        python, "-m", "vllm.entrypoints.openai.api_server",
        "--model", str(TINY_FOLDER), "--runner", "pooling", "--dtype", "float32",
        "--host", "127.0.0.1", "--port", str(port), "--max-model-len", str(max_model_len),
        "--enforce-eager", *arguments,
    ]  # fmt: skip
    if overrides:
        command += ["--hf-overrides", json.dumps(OVERRIDES)]
    with server_process(command, log, port, _ENVIRONMENT) as url:
        yield url
