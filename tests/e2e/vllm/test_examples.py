"""The examples on one real vLLM engine, and the example that starts its own."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from qwen3_ascend_retrievers import VLLMEngine
from support.example_output import ANY_ENGINE, EXAMPLES, FIRST, MIGRATE, PAIRS, in_order

Start = Callable[..., VLLMEngine]


@pytest.fixture(scope="module")
def engine(start: Start) -> VLLMEngine:
    return start("tiny", "float32")


@pytest.mark.parametrize("name", sorted(ANY_ENGINE))
def test_an_example_runs_on_vllm(
    name: str,
    engine: VLLMEngine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    status = import_module(name).main(engine=engine)
    if inspect.iscoroutine(status):
        status = asyncio.run(status)
    printed = capsys.readouterr().out
    assert not status, printed
    assert in_order(printed, ANY_ENGINE[name]), printed


@pytest.mark.parametrize("pair", PAIRS)
def test_a_script_after_a_swap_runs_on_vllm(
    pair: str, engine: VLLMEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    script = (MIGRATE / f"{pair}_after.py").read_text(encoding="utf-8")
    assert script.count('model="tiny"') == 1
    exec(script.replace('model="tiny"', "engine=engine"), {"engine": engine})
    assert capsys.readouterr().out.splitlines()[0].endswith(FIRST)


def printed_by(*command: Any) -> list[str]:
    process = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        timeout=400,
        env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "QWEN3_RERANK_ALLOW_TINY": "1"},
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()


def test_the_offline_script_after_the_guide() -> None:
    lines = printed_by(MIGRATE / "guide_offline_after.py", "tiny")
    assert lines[0].endswith(FIRST), lines


@pytest.mark.parametrize("page", ["in-process.md", "migrate.md"])
def test_a_page_whose_code_starts_vllm(page: str, tmp_path: Path) -> None:
    text = (EXAMPLES.parent / "docs" / page).read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if "VLLMEngine(" in block]
    script = tmp_path / "script.py"
    script.write_text(re.sub(r"Qwen/Qwen3-Reranker-\w+(\.\dB)?", "tiny", block), "utf-8")
    assert printed_by(script)[0].endswith("Beijing.")


def test_the_example_of_both_frameworks() -> None:
    lines = printed_by(EXAMPLES / "vllm_both_frameworks.py")
    assert [line.split()[0] for line in lines] == ["LangChain", "LlamaIndex"], lines
    assert all(line.endswith(FIRST) for line in lines)
