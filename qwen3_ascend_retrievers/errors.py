"""Every error that this package raises on purpose, and its summary for a log.

    RerankError
    ├── InvalidInputError (also ValueError)    what the caller passed is wrong; always raised
    ├── TooLongError (also ValueError)         a text does not fit the model, and may not be cut
    ├── MissingDependencyError (also ImportError)
    ├── RerankCancelled                        the caller asked to stop
    └── EngineError                            scoring failed
        ├── ModelError                         the checkpoint is missing or no Qwen3 reranker
        ├── EngineClosedError                  the engine was closed
        ├── ScoreError                         an engine's scores are invalid
        └── RemoteError                        the server or the way to it
            ├── ConnectionFailedError          no reply: refused, reset, TLS, DNS, proxy
            ├── DeadlineExceededError          no reply in the time that was given
            ├── AuthenticationError            401 or 403
            ├── StatusError                    another unsuccessful HTTP status
            ├── ReplyError                     a reply that cannot be understood
            └── TemplateMismatchError          the server changes prompts, or scores otherwise

Errors of other libraries are mapped to the most specific of these at the engine's boundary, with
`from`, and each message ends with what to do next. `on_error="keep_order"` keeps the retriever's
order for all of them but InvalidInputError, MissingDependencyError and RerankCancelled.
"""

from __future__ import annotations

import unicodedata


class RerankError(Exception):
    """Root of the tree: `except RerankError` catches whatever this package raises on purpose.

    Its message holds no terminal control sequences, whatever it quotes.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(
            *(printable(arg, keep="\n") if isinstance(arg, str) else arg for arg in args)
        )


class InvalidInputError(RerankError, ValueError):
    """The caller passed a wrong type or value; nothing was scored."""


class TooLongError(RerankError, ValueError):
    """A query alone exceeds the token budget, or a document does under `overflow="error"`.

    Attributes:
        index: position of the document in the input, or None if it is the query.
    """

    def __init__(self, message: str, *, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), str(self), {"index": self.index})


class MissingDependencyError(RerankError, ImportError):
    """An optional dependency is not installed; the message holds the exact install line."""


class RerankCancelled(RerankError):  # noqa: N818 - what the caller asked for, not a failure
    """The caller's cancel event was set while documents were being scored."""


class EngineError(RerankError):
    """The engine could not score."""


class ModelError(EngineError):
    """The checkpoint is missing, incomplete, or not a Qwen3 reranker."""


class EngineClosedError(EngineError):
    """The engine was closed; make a new one."""


class ScoreError(EngineError):
    """An engine returned scores that are missing, doubled, not finite or out of range."""


class RemoteError(EngineError):
    """A rerank server, or the way to it, failed.

    Attributes:
        status: HTTP status of the last reply, or None if there was none.
        request_id: the `X-Request-Id` that was sent, for the server's log.
    """

    def __init__(
        self, message: str, *, status: int | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.request_id = request_id

    def __reduce__(self) -> tuple[object, ...]:
        fields = {"status": self.status, "request_id": self.request_id}
        return _rebuild, (type(self), str(self), fields)


class ConnectionFailedError(RemoteError):
    """No reply: connection refused or reset, TLS or DNS failure, or an unusable proxy."""


class DeadlineExceededError(RemoteError):
    """No complete reply within the timeout or the overall deadline."""


class AuthenticationError(RemoteError):
    """The server answered 401 or 403."""


class StatusError(RemoteError):
    """The server answered with another unsuccessful status."""


class ReplyError(RemoteError):
    """The server's reply cannot be understood, or contradicts the request."""


class TemplateMismatchError(RemoteError):
    """The server changes the prompt or scores something else than a Qwen3 reranker's P(yes)."""


def summary(error: BaseException) -> str:
    """An error for a log: types and codes.

    The message is included only where it is this package's own: that of an error caused by a server
    or another library may quote them, and so the caller's documents.
    """
    parts = [type(error).__name__]
    if error.__cause__ is None and not isinstance(error, RemoteError):
        parts[0] += f": {error}"
    if error.__cause__ is not None:
        parts.append(f"caused by {type(error.__cause__).__name__}")
    for name in ("status", "request_id", "index"):
        if (value := getattr(error, name, None)) is not None:
            parts.append(f"{name} {value}")
    return ", ".join(parts)


def _rebuild(
    error_class: type[RerankError], message: str, fields: dict[str, object]
) -> RerankError:
    return error_class(message, **fields)


def printable(text: str, max_length: int | None = None, *, keep: str = "") -> str:
    """`text` in one line, with escapes for control, invisible and bidirectional characters.

    Args:
        text: text from outside, such as a server's.
        max_length: characters of the result, at most; None keeps all of it.
        keep: control characters that stay as they are.
    """
    # Each character is one or more in the result, so that no more than these are needed.
    begin = text if max_length is None else text[: max_length + 1]
    line = "".join(letter if letter in keep else _escaped(letter) for letter in begin)
    return line if max_length is None or len(line) <= max_length else line[: max_length - 1] + "…"


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    if unicodedata.category(character) == "Zs":
        return " "
    return ascii(character)[1:-1]
