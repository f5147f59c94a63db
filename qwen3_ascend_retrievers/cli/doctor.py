"""`qwen3-rerank doctor`: checks, proofs, and their comparison."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..engines.remote import RemoteEngine
from ..engines.remote.config import key_of
from ..errors import InvalidInputError, RerankError
from ..reranker import Reranker
from ..tools.diagnosis import (
    ComparedValue,
    EngineRecord,
    Finding,
    Proof,
    check_engine,
    check_environment,
    check_texts,
    compare_proofs,
    read_proof,
)
from ..tools.diagnosis.engine_checks import error_finding
from ..tools.diagnosis.findings import exit_code
from .options import EngineOptions, Json
from .output import err, out, print_json, print_note, terminal_text
from .running import command

_MARKS: Final = {"green": "✓", "amber": "!", "red": "✗"}
_COLOUR_STYLES: Final = {"green": "green", "amber": "yellow", "red": "bold red"}
# Of a comparison with marked values, where nothing else is wrong.
_MARKED: Final = 1


@command
def doctor_command(
    *,
    compared: Annotated[
        list[Path] | None,
        typer.Option(
            "--compare",
            metavar="FILE",
            help="A proof file, whose values are shown beside those of this machine. Given twice, "
            "two files are compared and nothing is checked.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    options: EngineOptions,
) -> None:
    """Check this machine, and the model or server if one is named.

    Exit code: 0 all green, 1 something amber (not proven), 2 something red (wrong). --json writes
    a proof file, to keep, to send or to compare: versions, devices, the known pairs' scores beside
    the published ones, and what each check measured. It holds no key, and ~ for your home; a
    server's address is in it.

    --compare marks checks with another colour, and scores of the same texts that differ by more
    than bf16 explains; with a mark the exit code is at least 1.

    Example: qwen3-rerank doctor --base-url http://npu-host:8000
    """
    if options.instruction is not None:
        raise InvalidInputError("doctor uses its own instructions; leave --instruction out.")
    proofs = [read_proof(path) for path in compared or ()]
    if len(proofs) > 1:
        _check_two_files(len(proofs), options)
        _end(_print_proofs(proofs[0], proofs[1], json))
        return
    proof = _examined(options)
    code = exit_code(proof.findings)
    if proofs:
        # As it is written, so that a path is compared with a path.
        code = max(code, _print_proofs(proofs[0], proof.public(), json))
    elif json:
        print_json(proof.as_json())
    else:
        print_findings(proof.findings)
    _end(code)


def _end(code: int) -> None:
    if code:
        raise typer.Exit(code)


def _check_two_files(count: int, options: EngineOptions) -> None:
    if count > 2:
        raise InvalidInputError("--compare takes one file, or two.")
    if options.engine_option or replace(options, engine_option=None) != EngineOptions():
        raise InvalidInputError(
            "Two files are compared without checking anything: leave the engine options out, or "
            "one of the files."
        )


def _examined(options: EngineOptions) -> Proof:
    findings = check_environment()
    options.check_single("doctor")
    if options.model is None and options.base_url is None:
        print_note("Only this machine is checked; name a model with --model or --base-url.")
        return Proof.of(findings, None)
    try:
        reranker = options.reranker(show_progress=False)
    except InvalidInputError:
        raise
    except RerankError as error:
        # The machine's findings are most useful where no engine can start.
        return Proof.of([*findings, error_finding(error, "engine")], None)
    with reranker, err().status("") as status:
        server = options.base_url, key_of(options.api_key())
        engine_findings: list[Finding] = []
        for finding in check_engine(reranker, *server):
            engine_findings.append(finding)
            status.update(f"checked: {finding.name}")
        # A failed handshake is the only finding.
        is_ready = len(engine_findings) > 1
        if is_ready and options.base_url is not None:
            engine_findings += _text_findings(options, reranker)
        engine = EngineRecord.of(reranker, *server, is_ready=is_ready)
    return Proof.of([*findings, *engine_findings], engine)


def _text_findings(options: EngineOptions, reranker: Reranker) -> list[Finding]:
    """What the server's other clients get, by engines that ask it as they do."""
    by_texts = options.make_engine(protocol="rerank")
    bare = Reranker(options.make_engine(protocol="rerank", template="none"))
    # Their warnings are for users of such engines; the findings say what is to be said.
    engine_logger = logging.getLogger(RemoteEngine.__module__.rpartition(".")[0])
    level = engine_logger.level
    engine_logger.setLevel(logging.ERROR)
    try:
        with closing(by_texts), bare:
            return check_texts(reranker, by_texts, bare)
    finally:
        engine_logger.setLevel(level)


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


def _print_proofs(there: Proof, here: Proof, json: bool) -> int:
    """Print two proofs side by side; returns the exit code that their differences ask for."""
    values = compare_proofs(there, here)
    marked = sum(value.is_marked for value in values)
    if json:
        rows = [
            {
                "section": value.section,
                "name": value.name,
                "there": value.there,
                "here": value.here,
                "difference": value.difference,
                "marked": value.is_marked,
            }
            for value in values
        ]
        print_json({"there": there.as_json(), "here": here.as_json(), "values": rows})
    else:
        out().print(_proofs_table(values, there, here))
        print_note(
            f"{marked} marked with !: another colour, or scores that differ by more than bf16 "
            "explains."
        )
    return _MARKED if marked else 0


def _proofs_table(values: Sequence[ComparedValue], there: Proof, here: Proof) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("", no_wrap=True)
    for heading in ("", "there", "here", "difference"):
        table.add_column(heading, overflow="fold")
    table.add_row("", "written at", terminal_text(there.written_at), terminal_text(here.written_at))
    section = ""
    for value in values:
        if value.section != section:
            section = value.section
            table.add_row("", Text(section, style="bold"))
        table.add_row(
            Text("!" if value.is_marked else "", style="yellow"),
            *(
                Text(terminal_text(text))
                for text in (value.name, value.there, value.here, value.difference)
            ),
        )
    return table
