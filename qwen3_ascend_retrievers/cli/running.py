"""What every command has in common: shared options, signals, errors and exit codes.

A command raises this package's errors or returns; how they are printed is here.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import sys
import warnings
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from typing import Any, Final, TypeVar, get_type_hints

import typer

from ..errors import InvalidInputError, RerankError, TooLongError
from . import INTERRUPTED, INTERRUPTED_NOTE
from .output import print_error, print_note

Result = TypeVar("Result")

FAILED: Final = 1
BAD_INPUT: Final = 2
TERMINATED: Final = 128 + signal.SIGTERM
_PACKAGE: Final = __name__.partition(".")[0]


class Terminated(BaseException):
    """SIGTERM: unwinds as Ctrl-C does, so that temporary files are deleted and children ended."""


def command(function: Callable[..., None]) -> Callable[..., None]:
    """A typer command that runs `function`.

    A parameter whose type is a dataclass is expanded: its fields become options of the command,
    and `function` gets the dataclass. Errors become a message on stderr and an exit code.
    """
    hints = get_type_hints(function, include_extras=True)
    signature = inspect.signature(function)
    groups: dict[str, type[Any]] = {}
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        kind = hints[name]
        if is_dataclass(kind) and isinstance(kind, type):
            groups[name] = kind
            parameters += _field_parameters(kind)
        else:
            parameters.append(parameter.replace(annotation=hints[name]))

    @wraps(function)
    def run(**values: Any) -> None:
        with _exit_codes():
            for name, kind in groups.items():
                values[name] = kind(
                    **{field.name: values.pop(field.name) for field in fields(kind)}
                )
            function(**values)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    annotations = {parameter.name: parameter.annotation for parameter in parameters}
    run.__annotations__ = annotations | {"return": None}
    return run


def _field_parameters(kind: type[Any]) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )


@contextmanager
def _exit_codes() -> Iterator[None]:
    """Turns every exception of the block into an exit code and a message on stderr."""
    with _sigterm_unwinds(), _readable_warnings():
        try:
            yield
        except (InvalidInputError, TooLongError) as error:
            print_error(str(error))
            raise typer.Exit(BAD_INPUT) from error
        except RerankError as error:
            print_error(str(error), kind=type(error).__name__)
            raise typer.Exit(FAILED) from error
        except BrokenPipeError as error:
            # The reader of our output closed the pipe; the interpreter's own flush must not fail.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(FAILED) from error
        except OSError as error:
            print_error(f"{error}. Check the disk and the rights of the folders named.")
            raise typer.Exit(FAILED) from error
        except KeyboardInterrupt as error:
            print_note(INTERRUPTED_NOTE)
            raise typer.Exit(INTERRUPTED) from error
        except Terminated as error:
            print_note("Terminated; no file was left half-written.")
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


def run_async(work: Coroutine[Any, Any, Result]) -> Result:
    """The result of asynchronous work of a command, which Ctrl-C and SIGTERM cancel.

    Terminated raised in a callback of the loop would be logged there, and the work go on.
    """

    async def run() -> Result:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        terminated = False

        def end() -> None:
            nonlocal terminated
            terminated = True
            task.cancel()

        def end_soon(*_: object) -> None:
            loop.call_soon_threadsafe(end)

        before = signal.signal(signal.SIGTERM, end_soon)
        try:
            return await work
        except asyncio.CancelledError:
            if terminated:
                raise Terminated from None
            raise
        finally:
            signal.signal(signal.SIGTERM, before)

    return asyncio.run(run())


@contextmanager
def _readable_warnings() -> Iterator[None]:
    """Warnings of this package as one line; those of libraries are for their developers."""
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
            warnings.filterwarnings("once", category=UserWarning, module=_PACKAGE)
        warnings.showwarning = lambda message, *_, **__: print_note(f"warning: {message}")
        yield
