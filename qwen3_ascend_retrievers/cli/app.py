"""The typer app: its commands, its version, and how the process starts."""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

from .. import __version__
from .convert import convert
from .doctor import doctor
from .evaluate import evaluate
from .explain import explain
from .output import complain
from .rank import rank
from .running import BAD_INPUT
from .serve import serve

app = typer.Typer(
    name="qwen3-rerank",
    help="Rerank with Qwen3-Reranker, here or behind /v1/rerank; look into it and check it.",
    epilog="Exit codes: 0 all well, 1 the engine or the server failed, 2 wrong input, "
    "130 interrupted, 143 terminated.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"qwen3-rerank {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Say the version."),
    ] = False,
) -> None:
    del version


app.command("rank")(rank)
app.command("explain")(explain)
app.command("eval")(evaluate)
app.command("convert")(convert)
app.command("serve")(serve)
app.command("doctor")(doctor)


def run() -> None:
    """Run the app on the process's arguments."""
    _prepare_streams()
    app()


def _prepare_streams() -> None:
    # A stream that was closed (<&-) is None in Python.
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: SIM115 - for good
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        complain(
            "Standard output is closed, and results would be lost. Open it, or say >/dev/null."
        )
        raise SystemExit(BAD_INPUT)
    # Files are UTF-8 in any locale, a byte order mark left out; so is what is piped in.
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="strict")
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets its number instead of a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
