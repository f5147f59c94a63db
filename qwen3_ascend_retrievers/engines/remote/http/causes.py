"""What stands behind an error that leaves the engine: the library's own, without its frames.

The frames of httpx and h11 hold headers with the key in plain, and their texts quote what a server
sent. So the cause is the same error made anew: its class, its text as it may be shown, and the
operating system's error behind it, if there is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from ....errors import RerankError
from ..redaction import Secrets, shown

Leaving = TypeVar("Leaving", bound=RerankError)


def redacted_cause(
    error: Exception, secrets: Secrets, handled: BaseException | None = None
) -> Exception:
    """What is raised `from` in place of `error`.

    Args:
        error: the library's.
        secrets: what must not be in its text.
        handled: what was being handled already when the library was called; no cause of `error`.
    """
    cause = _made_anew(error, shown(str(error), secrets))
    # The innermost says what happened: `[Errno 111] Connect call failed`.
    deepest = [link for link in _chain(error, handled) if isinstance(link, OSError) and str(link)][
        -1:
    ]
    if deepest and deepest[0] is not error:
        cause.__cause__ = _made_anew(deepest[0], shown(str(deepest[0]), secrets))
    return cause


def wordless(error: Exception) -> Exception:
    """The same for an error whose text may quote a password that nobody declared as a secret."""
    return _made_anew(error, "(its text is left out, because it may quote credentials)")


def leaving(error: Leaving) -> Leaving:
    """`error` as the caller gets it: no inner frames, and no inner links in its chain."""
    cause = error.__cause__
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        inner = getattr(cause, "error", None)
        if not isinstance(inner, RerankError):
            break
        cause = cause.__cause__ if inner is error else inner
    error.__cause__ = None if cause is error else cause
    error.__context__ = None
    return error.with_traceback(None)


def _chain(error: BaseException, end: BaseException | None) -> Iterator[BaseException]:
    """The error and what is behind it, each once, before `end`."""
    seen = {id(end)}
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        grouped = getattr(link, "exceptions", None)
        # httpcore raises its errors `from None`, and yet from those of the operating system.
        link = grouped[0] if grouped else link.__cause__ or link.__context__


def _made_anew(error: BaseException, text: str) -> Exception:
    choices: list[tuple[Any, ...]] = [(text,)]
    if isinstance(error, OSError) and error.errno is not None:
        choices.insert(0, (error.errno, text.removeprefix(f"[Errno {error.errno}] ")))
    # Some classes cannot be made of a text; then they skip their __init__, or their base says it.
    for kind in type(error).__mro__:
        for arguments in choices:
            for twin in (_tried(kind, *arguments), _tried(kind.__new__, kind, *arguments)):
                if isinstance(twin, Exception) and str(twin) == text:
                    return twin
    return Exception(text)


def _tried(make: Any, *arguments: Any) -> Any:
    try:
        return make(*arguments)
    except Exception:
        return None
