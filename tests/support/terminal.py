"""The installed script on a pseudo-terminal, where bars are drawn. No tests here."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
from pathlib import Path
from typing import Any

from typing_extensions import Self

from support.cli_runs import SCRIPT, environment

_SECONDS = 600


class Terminal:
    """One run of the script, for the time of a `with` block.

    Args:
        arguments: of the script.
        out: a file that takes stdout; None leaves it to the terminal, as stderr is.
        stdin: what is piped in.
        size: of the terminal, in lines and columns.

    Attributes:
        shown: everything on the terminal so far, control sequences included.
    """

    def __init__(
        self,
        *arguments: str,
        out: Path | None,
        stdin: str = "",
        size: tuple[int, int] = (50, 160),
    ) -> None:
        self.shown = ""
        self._ours, theirs = os.openpty()
        lines, columns = map(str, size)
        # A new one has no columns at all, and no room for a bar.
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        with open(os.devnull if out is None else out, "w") as file:
            self._process = subprocess.Popen(
                [str(SCRIPT), *arguments],
                stdin=subprocess.PIPE,
                stdout=theirs if out is None else file,
                stderr=theirs,
                text=True,
                env=environment() | {"TERM": "xterm", "LINES": lines, "COLUMNS": columns},
            )
        os.close(theirs)
        assert self._process.stdin is not None
        with self._process.stdin as pipe:
            pipe.write(stdin)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def text(self) -> str:
        """What was shown, without control sequences and carriage returns."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", self.shown)

    def until(self, pattern: str) -> None:
        """Read until the terminal has shown that."""
        while re.search(pattern, self.shown) is None:
            assert self._read(), f"the script ended before {pattern}: {self.shown[-5000:]}"

    def interrupt(self) -> None:
        """Send what Ctrl-C sends."""
        self._process.send_signal(signal.SIGINT)

    def finish(self) -> int:
        """Read to the end; the exit code."""
        while self._read():
            pass
        return self._process.wait(_SECONDS)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._ours], [], [], _SECONDS)
        assert ready, f"nothing new for {_SECONDS} s after: {self.shown[-5000:]}"
        try:
            some = os.read(self._ours, 65536)
        except OSError:
            # Linux says so when the last writer has gone.
            return False
        self.shown += some.decode("utf-8", "replace")
        return bool(some)
