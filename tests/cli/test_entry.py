"""The entry: light, readable without its libraries, and documented as it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from qwen3_ascend_retrievers import __version__
from qwen3_ascend_retrievers.cli.manual import TRANSLATED_ENGINE_NAMES, manual, translated
from qwen3_ascend_retrievers.errors import InvalidInputError
from support.cli_runs import SCRIPT, invoke, run

DOCS = Path(__file__).parents[2] / "docs"
COMMANDS = ("rank", "explain", "eval", "bulk", "convert", "serve", "doctor")
HEAVY = (
    "torch", "transformers", "vllm", "tokenizers", "ir_measures", "scipy", "matplotlib", "bm25s",
    "langchain_core", "llama_index",
)  # fmt: skip


def start_without(modules: tuple[str, ...], *arguments: str) -> subprocess.CompletedProcess[str]:
    code = (
        f"import sys\nsys.modules.update(dict.fromkeys({modules!r}))\n"
        f"sys.argv = ['qwen3-rerank', *{arguments!r}]\n"
        "from qwen3_ascend_retrievers.cli import main\nmain()"
    )
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_without_typer_the_install_line_is_all_that_is_said() -> None:
    result = start_without(("typer",), "rank", "x")
    assert result.returncode == 1
    assert result.stderr.strip().endswith("pip install 'qwen3-ascend-retrievers[cli]'")
    assert len(result.stderr.splitlines()) == 1


def test_help_and_eval_without_heavy_libraries(tmp_path: Path) -> None:
    assert start_without(HEAVY, "--help").returncode == 0
    files = [f"--{name}={tmp_path / name}" for name in ("run", "queries", "corpus", "qrels")]
    result = start_without(HEAVY, "eval", *files)
    assert result.returncode == 1
    assert "pip install 'qwen3-ascend-retrievers[eval]'" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_script_lists_its_commands_and_its_version() -> None:
    assert run("--version").stdout == f"qwen3-rerank {__version__}\n"
    result = invoke("--help")
    assert all(f" {name} " in result.stdout for name in COMMANDS)
    wrong = invoke("rank", "x", "--no-such-option")
    assert wrong.exit_code == 2


def test_the_manual_has_not_drifted() -> None:
    page = manual()
    texts = json.loads((DOCS / "cli.zh.json").read_text("utf-8"))
    for name, expected in (("cli.md", page), ("cli.zh.md", translated(page, texts))):
        written = (DOCS / name).read_text("utf-8")
        assert written == expected, "run python -m qwen3_ascend_retrievers.cli.manual"
    assert [line[3:] for line in page.splitlines() if line.startswith("## ")] == [
        *COMMANDS,
        "Engine options",
        "Presets",
    ]


def test_a_text_of_the_manual_without_a_translation_is_named() -> None:
    texts = json.loads((DOCS / "cli.zh.json").read_text("utf-8"))
    del texts["The search query."]
    with pytest.raises(InvalidInputError, match=r'"The search query\."'):
        translated(manual(), texts)


def test_no_translation_of_the_manual_is_left_over() -> None:
    texts = json.loads((DOCS / "cli.zh.json").read_text("utf-8"))
    page = (DOCS / "cli.zh.md").read_text("utf-8")
    written = [text.replace("{engines}", TRANSLATED_ENGINE_NAMES) for text in texts.values()]
    assert [text for text in written if text not in page] == []


def test_completion_knows_the_commands() -> None:
    # In a shell, by which typer tells whether its option takes a name.
    line = f"'{SCRIPT}' --show-completion bash; true"
    result = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
    assert "_QWEN3_RERANK_COMPLETE" in result.stdout
