"""The manual, docs/cli.md, made from the app: `python -m qwen3_ascend_retrievers.cli.manual`.

A test compares the file with this module's output, so that the two cannot drift apart.
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

_SHARED = """
## Engine options

Which engine scores, and how: the same for all commands that score.

"""
_PRESETS = """
## Presets

What `--instruction` takes by name, on the command line and in Python; Python has them in
`INSTRUCTIONS`. A name misspelt is an error, any other single word a warning.

| name | the task that the model reads |
|---|---|
"""
_ENGINE = frozenset(one.name for one in fields(EngineOptions))


def manual() -> str:
    """The page in Markdown."""
    group: Any = typer.main.get_command(app)
    commands: dict[str, Any] = group.commands
    shared = [one for one in commands["rank"].params if one.name in _ENGINE]
    pages = [_command(name, one) for name, one in commands.items()]
    presets = [f"| `{name}` | {task} |\n" for name, task in INSTRUCTIONS.items()]
    options = "\n".join(_options(shared))
    return "".join([_HEAD, *pages, _SHARED, options, "\n", _PRESETS, *presets])


def _command(name: str, one: Any) -> str:
    arguments = [parameter for parameter in one.params if not _is_option(parameter)]
    options = [parameter for parameter in one.params if _is_option(parameter)]
    own = [parameter for parameter in options if parameter.name not in _ENGINE]
    shares = len(options) - len(own) == len(_ENGINE)
    # Whatever starts with -- comes last.
    words = sorted(
        [*map(_metavar, arguments), "[OPTIONS]"], key=lambda word: word.startswith("[--")
    )
    usage = " ".join(["qwen3-rerank", name, *words])
    text = inspect.cleandoc(one.help or "")
    lines = [f"\n## {name}\n", f"    {usage}\n", f"{_example(text)}\n"]
    lines += [f"- `{_metavar(one)}`: {one.help}{_default(one)}" for one in arguments]
    lines += [""] if arguments else []
    lines += list(_options(own if shares else options))
    lines += ["\nAnd the [engine options](#engine-options)."] if shares else []
    return "\n".join(lines) + "\n"


def _example(text: str) -> str:
    """The example of a help text as code."""
    return re.sub(
        r"Example: (.*)", lambda found: f"    {_joined(found.group(1))}", text, flags=re.DOTALL
    )


def _joined(text: str) -> str:
    return " ".join(text.split())


def _options(options: list[Any]) -> Iterator[str]:
    yield "| option | meaning |"
    yield "|---|---|"
    for one in options:
        names = ", ".join(f"`{name}`" for name in [*one.opts, *one.secondary_opts])
        needed = " Required." if one.required else ""
        yield f"| {names} | {one.help}{_default(one)}{needed} |"


def _default(one: Any) -> str:
    """What holds without it: the text that its declaration gives, else its value."""
    shown = one.show_default if isinstance(one.show_default, str) else None
    value = one.default
    if shown is None and (value is None or value is False or one.required):
        return ""
    if shown is None and isinstance(value, str | int | float | Path):
        shown = str(getattr(value, "value", value))
    return f" Default: {shown}." if shown else ""


def _metavar(one: Any) -> str:
    given = one.metavar or one.name.upper()
    many = "..." if one.nargs == -1 and one.metavar is None else ""
    return f"{given}{many}" if one.required or one.metavar else f"[{given}{many}]"


def _is_option(parameter: Any) -> bool:
    return str(parameter.opts[0]).startswith("-")


if __name__ == "__main__":
    write_text(Path(sys.argv[1] if sys.argv[1:] else "docs/cli.md"), manual())
