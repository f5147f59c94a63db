"""`qwen3-rerank doctor`: is this machine, this model, this server in order?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..engines.remote.config import key_of
from ..errors import InvalidInputError, RerankError
from ..tools.diagnosis import Finding, check_engine, check_environment, check_texts, versions, worst
from ..tools.diagnosis.engine_checks import error_finding
from ..tools.diagnosis.findings import exit_code
from .options import EngineOptions, Json
from .output import err, note, out, printable, write_json
from .running import command

_MARKS: Final = {"green": "✓", "amber": "!", "red": "✗"}
_STYLES: Final = {"green": "green", "amber": "yellow", "red": "bold red"}


@command
def doctor(*, json: Json = False, options: EngineOptions) -> None:
    """Check this machine, and the model or server if one is named.

    Exit code: 0 all green, 1 something amber (not proven), 2 something red (wrong). --json makes
    a report for a bug; the key is not in it.

    Example: qwen3-rerank doctor --base-url http://npu-host:8000
    """
    if options.instruction is not None:
        raise InvalidInputError("doctor uses its own instructions; leave --instruction out.")
    findings = [*check_environment(), *_engine(options)]
    if json:
        write_json(
            {
                "colour": worst(findings),
                "versions": versions(),
                "findings": [
                    {
                        "name": one.name,
                        "colour": one.colour,
                        "said": one.message,
                        "remedy": one.remedy,
                        "source": one.source,
                    }
                    for one in findings
                ],
            }
        )
    else:
        show(findings)
    if code := exit_code(findings):
        raise typer.Exit(code)


def _engine(options: EngineOptions) -> list[Finding]:
    if options.model is None and options.base_url is None:
        note("Only this machine is checked; name a model with --model or --base-url.")
        return []
    found: list[Finding] = []
    try:
        made = options.reranker(show_progress=False)
    except InvalidInputError:
        raise
    except RerankError as error:
        # What is known of the machine is wanted most where nothing can run on it.
        return [error_finding(error, "engine")]
    with made as reranker, err().status("") as status:
        for one in check_engine(reranker, options.base_url, key_of(options.api_key())):
            found.append(one)
            status.update(f"checked: {one.name}")
    # A first contact that failed is the only finding, and says it already.
    if options.base_url is not None and len(found) > 1:
        texts = options.make_engine(protocol="rerank")
        found.append(check_texts(texts))
        texts.close()
    return found


def show(findings: Sequence[Finding], console: Console | None = None) -> None:
    """The findings as a table, remedies under what they are for; on stdout by default."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for one in findings:
        style = _STYLES[one.colour]
        told = Text(printable(one.message))
        if one.remedy:
            told.append(f"\n→ {printable(one.remedy)}", style=style)
        if one.source and one.colour != "green":
            told.append(f"\n  see {one.source}", style="dim")
        mark = Text(f"{_MARKS[one.colour]} {one.colour}", style=style)
        table.add_row(mark, Text(one.name, style="bold"), told)
    (console or out()).print(table)
