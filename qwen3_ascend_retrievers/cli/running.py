"""What every command has in common: shared options, signals, errors and exit codes.

A command raises this package's errors and returns; the rest of the ceremony is here.
"""

from __future__ import annotations

import inspect
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from typing import Any, Final, get_type_hints

import typer

from ..errors import InvalidInputError, RerankError, TooLongError
from . import INTERRUPTED, INTERRUPTED_NOTE
from .output import complain, note

FAILED: Final = 1
BAD_INPUT: Final = 2
TERMINATED: Final = 128 + signal.SIGTERM
_OWN: Final = __name__.partition(".")[0]


class Terminated(BaseException):
    """SIGTERM came: unwind as for Ctrl-C, so that temporary files and children go."""


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Makes a typer command of `function`.

    A parameter whose type is a dataclass is spread: its fields become options of the command, and
    `function` gets the dataclass made of them. Errors end in one block and an exit code.
    """
    hints = get_type_hints(function, include_extras=True)
    signature = inspect.signature(function)
    groups: dict[str, type[Any]] = {}
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        kind = hints[name]
        if is_dataclass(kind) and isinstance(kind, type):
            groups[name] = kind
            parameters += _spread(kind)
        else:
            parameters.append(parameter.replace(annotation=hints[name]))

    @wraps(function)
    def run(**values: Any) -> None:
        with _outcome():
            for name, kind in groups.items():
                values[name] = kind(**{one.name: values.pop(one.name) for one in fields(kind)})
            function(**values)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters} | {"return": None}
    return run


def _spread(kind: type[Any]) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    for one in fields(kind):
        yield inspect.Parameter(
            one.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if one.default is MISSING else one.default,
            annotation=hints[one.name],
        )


@contextmanager
def _outcome() -> Iterator[None]:
    """Turns whatever ends the block into an exit code, with the errors told on stderr."""
    with _sigterm_unwinds(), _readable_warnings():
        try:
            yield
        except (InvalidInputError, TooLongError) as error:
            complain(str(error))
            raise typer.Exit(BAD_INPUT) from error
        except RerankError as error:
            complain(str(error), kind=type(error).__name__)
            raise typer.Exit(FAILED) from error
        except BrokenPipeError as error:
            # Whoever read our output has had enough; the interpreter's own flush must not complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(FAILED) from error
        except OSError as error:
            complain(f"{error}. Check the disk and the rights of the folders named.")
            raise typer.Exit(FAILED) from error
        except KeyboardInterrupt as error:
            note(INTERRUPTED_NOTE)
            raise typer.Exit(INTERRUPTED) from error
        except Terminated as error:
            note("Terminated; no file was left half-written.")
            raise typer.Exit(TERMINATED) from error


@contextmanager
def _sigterm_unwinds() -> Iterator[None]:
    def unwind(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _readable_warnings() -> Iterator[None]:
    """Warnings of this package as one line; those of libraries are for their developers."""
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
            warnings.filterwarnings("once", category=UserWarning, module=_OWN)
        warnings.showwarning = lambda message, *_, **__: note(f"warning: {message}")
        yield
