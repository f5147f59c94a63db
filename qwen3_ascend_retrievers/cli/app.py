"""The typer app: its commands, its version, and how the process starts."""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

from .. import __version__
from .bulk import bulk_command
from .convert import convert_command
from .doctor import doctor_command
from .evaluate import eval_command
from .explain import explain_command
from .output import print_error
from .rank import rank_command
from .running import BAD_INPUT
from .serve import serve_command

app = typer.Typer(
    name="qwen3-rerank",
    help="Rerank with Qwen3-Reranker, here or on a /v1/rerank server; explain, measure, check it.",
    epilog="Exit codes: 0 success, 1 the engine or the server failed, 2 wrong input, "
    "130 interrupted, 143 terminated.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"qwen3-rerank {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    del version


app.command(name="rank")(rank_command)
app.command(name="explain")(explain_command)
app.command(name="eval")(eval_command)
app.command(name="bulk")(bulk_command)
app.command(name="convert")(convert_command)
app.command(name="serve")(serve_command)
app.command(name="doctor")(doctor_command)


def run_app() -> None:
    """Run the app on the process's arguments."""
    _prepare_streams()
    app()


def _prepare_streams() -> None:
    # A stream that was closed (<&-) is None in Python.
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: SIM115 - open until exit
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        print_error(
            "Standard output is closed, and results would be lost. Open it, or say >/dev/null."
        )
        raise SystemExit(BAD_INPUT)
    # Like files, piped input is UTF-8 in any locale, without a byte order mark.
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="strict")
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal cannot encode becomes an escape, not a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
