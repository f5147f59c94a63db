"""`qwen3-rerank serve`: start vLLM with the right flags, check it, and show how to use it."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from subprocess import Popen
from typing import Annotated, cast

import typer
from rich.text import Text

from .._util.atomic_files import check_writable
from ..engines.remote import RemoteEngine
from ..engines.vllm.version import Version, parse_version
from ..errors import EngineError, InvalidInputError
from ..models.check import checked_tokenizer
from ..models.checkpoint import CheckpointKind, find_checkpoint
from ..models.files import local_folder
from ..reranker import Reranker
from ..serving.checks import check_extra, check_key, check_length
from ..serving.command import Hardware, ServerCommand, ServerSettings, reachable, server_command
from ..serving.exposure import open_routes
from ..serving.key_guard import KEY_VARIABLE, OPEN_PATHS
from ..serving.machine import choose_hardware, vllm_version
from ..serving.process import (
    SERVER_SHUTDOWN_SECONDS,
    check_port,
    failure_reason,
    new_log,
    running,
    wait_until_healthy,
)
from ..settings import API_KEY_VARIABLE, environment, whole_number
from ..tools.diagnosis import Finding, worst
from ..tools.diagnosis.engine_checks import first_checks
from .doctor import print_findings
from .key_files import read_key_file
from .options import Json
from .output import err, out, print_json, print_note
from .running import Terminated, command

# What --print assumes for another machine: the newest release of vllm-ascend.
_ASCEND = "0.23.0"


class HardwareChoice(str, Enum):
    """The hardware, by the names of `serving.command.Hardware`, or auto."""

    auto = "auto"
    a2 = "a2"
    a3 = "a3"
    p310 = "310p"
    cuda = "cuda"
    cpu = "cpu"


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Where and on what the server runs."""

    hardware: Annotated[
        HardwareChoice, typer.Option(help="auto, a2, a3, 310p (300I DUO), cuda or cpu.")
    ] = HardwareChoice.auto
    data_parallel: Annotated[int, typer.Option(help="Replicas of the model.")] = 1
    tensor_parallel: Annotated[int, typer.Option(help="Devices of each replica.")] = 1
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the key that clients must send.", show_default="variable VLLM_API_KEY"
        ),
    ] = None
    max_length: Annotated[
        int | None,
        typer.Option(
            help="Maximum tokens of a prompt, at least 256.",
            show_default="8192; 2048 on a 300I DUO",
        ),
    ] = None
    start_timeout: Annotated[int, typer.Option(help="Seconds to wait for the model.")] = 1800
    log_file: Annotated[
        Path | None,
        typer.Option(
            help="Add vLLM's log to this file.",
            show_default="a new file, which is named at the start",
        ),
    ] = None
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show vLLM's log on standard error instead.")
    ] = False

    def key(self) -> str | None:
        """The key in the file, or else in vLLM's own variable; None without one."""
        if self.api_key_file is None:
            key = environment(KEY_VARIABLE)
            return check_key(key, KEY_VARIABLE) if key else None
        return check_key(read_key_file(self.api_key_file), str(self.api_key_file))

    def log(self) -> Path | None:
        """The file for vLLM's log, which is made if none is named; None is standard error."""
        return None if self.verbose else self.log_file or new_log(self.port)

    def check(self) -> None:
        """Raise InvalidInputError for numbers that are too small, and a log that has no place."""
        for name in ("data_parallel", "tensor_parallel", "port", "start_timeout"):
            whole_number(f"--{name.replace('_', '-')}", getattr(self, name), minimum=1)
        if self.log_file is not None:
            if self.verbose:
                raise InvalidInputError("--verbose shows vLLM's log instead of a --log-file.")
            check_writable(self.log_file, only_file=True)


@command
def serve_command(
    model: Annotated[str, typer.Argument(help="Folder, hub name, or 'tiny'.")],
    extra: Annotated[
        list[str] | None, typer.Argument(metavar="[-- VLLM ARGUMENTS]", help="Passed to vLLM.")
    ] = None,
    *,
    options: ServerOptions,
    print_only: Annotated[
        bool, typer.Option("--print", help="Show the command (and docker's) and start nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Serve a model with vLLM: right flags, exact template, checked before it is announced.

    Stays in the foreground; Ctrl-C ends the server and its workers, and a second one kills them.
    The line "Ready at ..." is the last that is written while the server runs.

    On a CPU no graphs are compiled, so that it starts sooner. Put
    "-- --no-enforce-eager" at the end to have them compiled.

    With a key, from --api-key-file or VLLM_API_KEY, every route requires it: /rerank, /classify,
    /tokenize and /metrics, which vLLM's own key leaves open, too. Only /health and /ping answer
    without it. This is tested before the server is announced. The key is read once, at the start.
    The docker command of --print mounts the key's check into the container.

    Example: qwen3-rerank serve Qwen/Qwen3-Reranker-8B --tensor-parallel 2 --api-key-file key
    """
    options.check()
    check_extra(extra or ())
    key = options.key()
    settings = _server_settings(model, tuple(extra or ()), options, print_only)
    vllm_command = server_command(settings)
    if print_only:
        _print_command(vllm_command, settings, json)
        return
    url = reachable(options.host, options.port)
    check_port(options.host, options.port)
    log = options.log()
    if log is None:
        print_note(vllm_command.shell())
    with running(vllm_command, key, log) as process, _interrupt_note(process):
        with _loading_line(settings, log) as progress:
            wait_until_healthy(process, url, options.start_timeout, progress, log)
        _announce(_self_check(url, key), url, settings, log, json)
        code = process.wait()
    reason = failure_reason(log, starting=False)
    raise EngineError(f"The server ended by itself with code {code}{reason}")


@contextmanager
def _loading_line(settings: ServerSettings, log: Path | None) -> Iterator[Callable[[int], None]]:
    """A line that says what is loaded and where the log is; on a terminal it counts the seconds."""
    line = f"Loading {settings.name} with vLLM on {settings.hardware}"
    named = "" if log is None else f"; vLLM's log: {log}"
    # Lines of vLLM's log would tear a line that is drawn again and again.
    if log is None or not sys.stderr.isatty():
        print_note(f"{line}{named}")
        yield lambda _: None
        return
    start = time.monotonic()
    with err().status(Text(f"{line}{named}")) as status:
        yield lambda elapsed: status.update(Text(f"{line}, {elapsed} s{named}"))
    print_note(f"Loaded {settings.name} in {time.monotonic() - start:.0f} s{named}")


@contextmanager
def _interrupt_note(process: Popen[bytes]) -> Iterator[None]:
    """On an interrupt, a note on how long the server's end may take."""
    try:
        yield
    except (KeyboardInterrupt, Terminated):
        if process.poll() is None:
            print_note(
                f"Stopping vLLM, for up to {SERVER_SHUTDOWN_SECONDS:.0f} s; a second Ctrl-C kills "
                "it at once."
            )
        raise


def _server_settings(
    model: str, extra: tuple[str, ...], options: ServerOptions, print_only: bool
) -> ServerSettings:
    folder = local_folder(model)
    hardware, version, ascend = _hardware(options, print_only)
    kind: CheckpointKind
    if print_only and folder is None:
        # --print downloads nothing; converted checkpoints on the hub have this in their names.
        kind, path = ("converted" if "seq-cls" in model.lower() else "original"), model
        positions = None
    else:
        checkpoint = find_checkpoint(model)
        if not print_only:
            checked_tokenizer(checkpoint)
        kind, path = checkpoint.kind, str(checkpoint.folder)
        positions = checkpoint.max_positions
    check_length(options.max_length, positions, extra)
    return ServerSettings(
        model=path,
        name=model,
        kind=kind,
        hardware=hardware,
        version=version,
        ascend=ascend,
        host=options.host,
        port=options.port,
        data_parallel=options.data_parallel,
        tensor_parallel=options.tensor_parallel,
        max_length=options.max_length,
        max_positions=positions,
        guarded=options.key() is not None,
        key_file=options.api_key_file,
        extra=extra,
    )


def _hardware(
    options: ServerOptions, print_only: bool
) -> tuple[Hardware, Version | None, Version | None]:
    """The hardware, and the versions of vLLM and vllm-ascend."""
    auto = options.hardware is HardwareChoice.auto
    requested = None if auto else cast(Hardware, options.hardware.value)
    if print_only and requested is not None:
        ascend = None if requested in ("cuda", "cpu") else parse_version(_ASCEND)
        return requested, None, ascend
    version = vllm_version(requested)
    hardware, ascend = choose_hardware(requested)
    return hardware, version, ascend


def _print_command(command: ServerCommand, settings: ServerSettings, json: bool) -> None:
    docker = None if settings.hardware in ("cuda", "cpu") else command.docker(settings)
    if json:
        arguments = [sys.executable, *command.arguments]
        print_json({"command": arguments, "environment": command.environment, "docker": docker})
        return
    sys.stdout.write(command.shell() + "\n")
    if docker is not None:
        sys.stdout.write(f"\n# The same in vLLM-Ascend's container:\n{docker}\n")


def _self_check(url: str, key: str | None) -> list[Finding]:
    with Reranker(RemoteEngine(url, api_key=key)) as reranker:
        findings = list(first_checks(reranker, url))
    if key is not None:
        findings.append(_key_check(open_routes(url)))
    if worst(findings) == "red":
        print_findings(findings, err())
        raise EngineError("The server is not right, as the red lines say. It was ended.")
    return findings


def _key_check(open_routes: list[str]) -> Finding:
    if not open_routes:
        return Finding("key", "green", f"asked for on all routes but {' and '.join(OPEN_PATHS)}")
    message = f"{', '.join(open_routes)} answer without the key"
    remedy = "Leave out what replaces vLLM's HTTP server: VLLM_USE_RUST_FRONTEND, or an argument."
    return Finding("key", "red", message, remedy, "docs/cli.md, serve")


def _announce(
    findings: list[Finding], url: str, settings: ServerSettings, log: Path | None, json: bool
) -> None:
    line = f'Qwen3Rerank(base_url="{url}", top_n=5)'
    if json:
        path = None if log is None else str(log)
        print_json({"base_url": url, "model": settings.name, "python": line, "log": path})
    else:
        print_findings(findings)
        lines = [
            "from qwen3_ascend_retrievers.langchain import Qwen3Rerank  # or .llama_index",
            line,
            f"\nReady at {url}",
        ]
        if settings.guarded:
            lines.insert(0, f"export {API_KEY_VARIABLE}={_key_source(settings.key_file)}")
        out().print("", *lines, sep="\n", markup=False, soft_wrap=True)
    sys.stdout.flush()


def _key_source(file: Path | None) -> str:
    return f'"${KEY_VARIABLE}"' if file is None else f'"$(cat {shlex.quote(str(file))})"'
