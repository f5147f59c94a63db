"""What all commands share: their streams, what they say there, and an early Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from pathlib import Path

import pytest

from qwen3_ascend_retrievers.cli.output import print_error, print_note
from qwen3_ascend_retrievers.cli.running import Terminated, run_async
from support.cli_runs import SCRIPT, TINY, environment


def shell(
    redirection: str, *arguments: str, stdin: bytes = b"", **variables: str
) -> subprocess.CompletedProcess[bytes]:
    """The installed script, started by a shell with that redirection."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", str(SCRIPT), *arguments],
        input=stdin,
        capture_output=True,
        timeout=600,
        env=environment() | variables,
    )


RANK = ("rank", "cat", *TINY, "--json")


@pytest.mark.parametrize(
    "locale", [{"LC_ALL": "C"}, {"LC_ALL": "C.UTF-8"}, {"PYTHONIOENCODING": "latin-1"}]
)
def test_standard_input_is_strict_utf8_in_any_locale(locale: dict[str, str]) -> None:
    result = shell("", *RANK, stdin="\ufeffüber 北京\n".encode(), **locale)
    assert result.returncode == 0, result.stderr
    assert [document["text"] for document in json.loads(result.stdout)["results"]] == ["über 北京"]
    wrong = shell("", *RANK, stdin=b"ok\n\xff\xfe bad\n", **locale)
    assert (wrong.returncode, wrong.stdout) == (2, b"")
    assert b"error: Standard input is not UTF-8" in wrong.stderr


@pytest.mark.parametrize(
    ("redirection", "message"),
    [
        ("<&-", b"error: There is no document in -"),
        (">&-", b"error: Standard output is closed"),
        ("<&- >&-", b"error: Standard output is closed"),
        ("<&- 2>&-", b""),
    ],
)
def test_a_closed_stream_is_wrong_input(redirection: str, message: bytes) -> None:
    result = shell(redirection, *RANK, stdin=b"a cat\n")
    assert (result.returncode, result.stdout) == (2, b""), result.stderr
    assert message in result.stderr
    assert b"Traceback" not in result.stderr


def test_closed_streams_that_are_not_needed_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a cat")
    result = shell("<&- 2>&-", *RANK, str(tmp_path / "a.txt"))
    assert result.returncode == 0
    assert json.loads(result.stdout)["results"][0]["text"] == "a cat"


def test_ctrl_c_while_libraries_are_imported_ends_as_later(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt")
    result = shell("", "--version", PYTHONPATH=str(tmp_path))
    assert result.returncode == 130
    assert result.stderr == b"Interrupted; no file was left half-written.\n"


def test_no_message_can_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_note("m\x1b]0;title\x07 by \u202e[bold]b[/bold]")
    print_error("m\x1b[2J")
    output = capsys.readouterr().err
    assert output == "m\ufffd]0;title\ufffd by \ufffd[bold]b[/bold]\nerror: m\ufffd[2J\n"


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_signal_in_a_callback_of_the_loop_ends_asynchronous_work(
    number: signal.Signals, error: type[BaseException]
) -> None:
    cleaned_up: list[bool] = []

    async def work() -> None:
        asyncio.get_running_loop().call_soon(signal.raise_signal, number)
        try:
            await asyncio.Event().wait()
        finally:
            cleaned_up.append(True)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(error):
        run_async(work())
    assert cleaned_up
    assert signal.getsignal(signal.SIGTERM) is before
