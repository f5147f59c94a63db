"""`qwen3-rerank doctor`: checks of this machine, a model or a server."""

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
from .output import err, out, print_json, print_note, terminal_text
from .running import command

_MARKS: Final = {"green": "✓", "amber": "!", "red": "✗"}
_COLOUR_STYLES: Final = {"green": "green", "amber": "yellow", "red": "bold red"}


@command
def doctor_command(*, json: Json = False, options: EngineOptions) -> None:
    """Check this machine, and the model or server if one is named.

    Exit code: 0 all green, 1 something amber (not proven), 2 something red (wrong). --json writes
    a report to attach to an issue, without the key.

    Example: qwen3-rerank doctor --base-url http://npu-host:8000
    """
    if options.instruction is not None:
        raise InvalidInputError("doctor uses its own instructions; leave --instruction out.")
    findings = [*check_environment(), *_engine_findings(options)]
    if json:
        print_json(
            {
                "colour": worst(findings),
                "versions": versions(),
                "findings": [
                    {
                        "name": finding.name,
                        "colour": finding.colour,
                        "said": finding.message,
                        "remedy": finding.remedy,
                        "source": finding.source,
                    }
                    for finding in findings
                ],
            }
        )
    else:
        print_findings(findings)
    if code := exit_code(findings):
        raise typer.Exit(code)


def _engine_findings(options: EngineOptions) -> list[Finding]:
    if options.model is None and options.base_url is None:
        print_note("Only this machine is checked; name a model with --model or --base-url.")
        return []
    findings: list[Finding] = []
    try:
        reranker = options.reranker(show_progress=False)
    except InvalidInputError:
        raise
    except RerankError as error:
        # The machine's findings are most useful where no engine can start.
        return [error_finding(error, "engine")]
    with reranker, err().status("") as status:
        for finding in check_engine(reranker, options.base_url, key_of(options.api_key())):
            findings.append(finding)
            status.update(f"checked: {finding.name}")
    # A failed handshake is the only finding.
    if options.base_url is not None and len(findings) > 1:
        engine = options.make_engine(protocol="rerank")
        findings.append(check_texts(engine))
        engine.close()
    return findings


def print_findings(findings: Sequence[Finding], console: Console | None = None) -> None:
    """Print a table of findings with their remedies, on stdout by default."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        style = _COLOUR_STYLES[finding.colour]
        details = Text(terminal_text(finding.message))
        if finding.remedy:
            details.append(f"\n→ {terminal_text(finding.remedy)}", style=style)
        if finding.source and finding.colour != "green":
            details.append(f"\n  see {finding.source}", style="dim")
        mark = Text(f"{_MARKS[finding.colour]} {finding.colour}", style=style)
        table.add_row(mark, Text(finding.name, style="bold"), details)
    (console or out()).print(table)
