"""The manual, docs/cli.md, generated from the app: `python -m qwen3_ascend_retrievers.cli.manual`.

A test compares the file with this module's output, so that the two stay the same.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import typer.main

from .._util.atomic_files import write_text
from ..core.prompt import INSTRUCTIONS
from .app import app
from .options import EngineOptions

_HEAD = """\
# qwen3-rerank

The command line of qwen3-ascend-retrievers. Install it with
`pip install 'qwen3-ascend-retrievers[cli]'`; `eval` needs the extra `eval` too, models in this
process need `local` or `vllm`.

Results go to standard output, everything else to standard error. Exit codes: 0 all well, 1 the
engine or the server failed, 2 wrong input, 130 interrupted, 143 terminated; `doctor` has its own.
Ctrl-C and SIGTERM leave no half-written file and no process. The server's key comes from
`--api-key-file` or `QWEN3_RERANK_API_KEY` (the key that `serve` asks for: `--api-key-file` or
`VLLM_API_KEY`), and is never shown.

`qwen3-rerank --install-completion` sets up completion for bash, zsh, fish and PowerShell.

This page is made by `python -m qwen3_ascend_retrievers.cli.manual`; do not edit it.
"""

_ENGINE_HEADING = """
## Engine options

Which engine scores, and how: the same for all commands that score.

"""
_PRESETS_HEADING = """
## Presets

What `--instruction` takes by name, on the command line and in Python; Python has them in
`INSTRUCTIONS`. A name misspelt is an error, any other single word a warning.

| name | the task that the model reads |
|---|---|
"""
_ENGINE_OPTIONS = frozenset(field.name for field in fields(EngineOptions))


def manual() -> str:
    """The page in Markdown."""
    group: Any = typer.main.get_command(app)
    commands: dict[str, Any] = group.commands
    engine_options = [
        option for option in commands["rank"].params if option.name in _ENGINE_OPTIONS
    ]
    sections = [_command_section(name, command) for name, command in commands.items()]
    presets = [f"| `{name}` | {task} |\n" for name, task in INSTRUCTIONS.items()]
    table = "\n".join(_option_table(engine_options))
    return "".join([_HEAD, *sections, _ENGINE_HEADING, table, "\n", _PRESETS_HEADING, *presets])


def _command_section(name: str, command: Any) -> str:
    arguments = [parameter for parameter in command.params if not _is_option(parameter)]
    options = [parameter for parameter in command.params if _is_option(parameter)]
    own = [parameter for parameter in options if parameter.name not in _ENGINE_OPTIONS]
    shares = len(options) - len(own) == len(_ENGINE_OPTIONS)
    # The argument [-- VLLM ARGUMENTS] comes last.
    words = sorted(
        [*map(_metavar, arguments), "[OPTIONS]"], key=lambda word: word.startswith("[--")
    )
    usage = " ".join(["qwen3-rerank", name, *words])
    text = inspect.cleandoc(command.help or "")
    lines = [f"\n## {name}\n", f"    {usage}\n", f"{_example(text)}\n"]
    lines += [
        f"- `{_metavar(argument)}`: {argument.help}{_default_text(argument)}"
        for argument in arguments
    ]
    lines += [""] if arguments else []
    lines += list(_option_table(own if shares else options))
    lines += ["\nAnd the [engine options](#engine-options)."] if shares else []
    return "\n".join(lines) + "\n"


def _example(text: str) -> str:
    """The example of a help text as code."""
    return re.sub(
        r"Example: (.*)", lambda match: f"    {_joined(match.group(1))}", text, flags=re.DOTALL
    )


def _joined(text: str) -> str:
    return " ".join(text.split())


def _option_table(options: list[Any]) -> Iterator[str]:
    yield "| option | meaning |"
    yield "|---|---|"
    for option in options:
        names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
        required = " Required." if option.required else ""
        yield f"| {names} | {option.help}{_default_text(option)}{required} |"


def _default_text(parameter: Any) -> str:
    """The default: the text that the declaration gives, else the value."""
    text = parameter.show_default if isinstance(parameter.show_default, str) else None
    value = parameter.default
    if text is None and (value is None or value is False or parameter.required):
        return ""
    if text is None and isinstance(value, str | int | float | Path):
        text = str(getattr(value, "value", value))
    return f" Default: {text}." if text else ""


def _metavar(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    many = "..." if argument.nargs == -1 and argument.metavar is None else ""
    return f"{name}{many}" if argument.required or argument.metavar else f"[{name}{many}]"


def _is_option(parameter: Any) -> bool:
    return str(parameter.opts[0]).startswith("-")


if __name__ == "__main__":
    write_text(Path(sys.argv[1] if sys.argv[1:] else "docs/cli.md"), manual())
