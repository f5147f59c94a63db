"""The cause of an error that leaves the engine: the library's own error, without its frames.

The frames of httpx and h11 hold headers with the key in plain text, and their messages quote the
server. So the cause is a copy: the same class, the redacted message, and a copy of the operating
system's error behind it, if there is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from ....errors import RerankError
from ..redaction import Secrets, redacted_excerpt

PublicError = TypeVar("PublicError", bound=RerankError)


def redacted_cause(
    error: Exception, secrets: Secrets, handled: BaseException | None = None
) -> Exception:
    """The copy that is raised `from` in place of `error`.

    Args:
        error: the library's.
        secrets: what must not be in its message.
        handled: the error that was being handled when the library was called; no cause of `error`.
    """
    cause = _copy_of(error, redacted_excerpt(str(error), secrets))
    # The innermost is the most specific: `[Errno 111] Connect call failed`.
    system_errors = [
        link for link in _chain(error, handled) if isinstance(link, OSError) and str(link)
    ]
    if system_errors and system_errors[-1] is not error:
        innermost = system_errors[-1]
        cause.__cause__ = _copy_of(innermost, redacted_excerpt(str(innermost), secrets))
    return cause


def without_message(error: Exception) -> Exception:
    """The same for an error whose message may quote a password that no setting declares secret."""
    return _copy_of(error, "(its text is left out, because it may quote credentials)")


def public_error(error: PublicError) -> PublicError:
    """`error` without frames of the engine, and without internal errors in its chain."""
    cause = error.__cause__
    visited: set[int] = set()
    while cause is not None and id(cause) not in visited:
        visited.add(id(cause))
        inner = getattr(cause, "error", None)
        if not isinstance(inner, RerankError):
            break
        cause = cause.__cause__ if inner is error else inner
    error.__cause__ = None if cause is error else cause
    error.__context__ = None
    return error.with_traceback(None)


def _chain(error: BaseException, end: BaseException | None) -> Iterator[BaseException]:
    """The error and its causes, each once, up to `end`."""
    visited = {id(end)}
    link: BaseException | None = error
    while link is not None and id(link) not in visited:
        visited.add(id(link))
        yield link
        grouped = getattr(link, "exceptions", None)
        # httpcore raises its errors `from None`; their context is the operating system's error.
        link = grouped[0] if grouped else link.__cause__ or link.__context__


def _copy_of(error: BaseException, message: str) -> Exception:
    choices: list[tuple[Any, ...]] = [(message,)]
    if isinstance(error, OSError) and error.errno is not None:
        choices.insert(0, (error.errno, message.removeprefix(f"[Errno {error.errno}] ")))
    # Some classes do not take a message; then without their __init__, or their base class.
    for base in type(error).__mro__:
        for arguments in choices:
            for copy in (
                _call_or_none(base, *arguments),
                _call_or_none(base.__new__, base, *arguments),
            ):
                if isinstance(copy, Exception) and str(copy) == message:
                    return copy
    return Exception(message)


def _call_or_none(constructor: Any, *arguments: Any) -> Any:
    try:
        return constructor(*arguments)
    except Exception:
        return None
