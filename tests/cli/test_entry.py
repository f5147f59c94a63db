"""The entry: light, readable without its libraries, and documented as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from qwen3_ascend_retrievers import __version__
from qwen3_ascend_retrievers.cli.manual import manual
from support.cli_runs import SCRIPT, invoke, run

COMMANDS = ("rank", "explain", "eval", "convert", "serve", "doctor")
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
    path = Path(__file__).parents[2] / "docs" / "cli.md"
    page = manual()
    assert path.read_text("utf-8") == page, "run python -m qwen3_ascend_retrievers.cli.manual"
    assert [line[3:] for line in page.splitlines() if line.startswith("## ")] == [
        *COMMANDS,
        "Engine options",
        "Presets",
    ]


def test_completion_knows_the_commands() -> None:
    # In a shell, by which typer tells whether its option takes a name.
    line = f"'{SCRIPT}' --show-completion bash; true"
    result = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
    assert "_QWEN3_RERANK_COMPLETE" in result.stdout
