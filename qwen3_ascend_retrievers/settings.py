"""Frozen settings, and all code that reads or changes the process environment.

No I/O beyond `os.environ`, and nothing specific to a framework or an engine.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal, get_args

from .errors import InvalidInputError

Overflow = Literal["truncate", "window", "error"]
OnError = Literal["raise", "keep_order"]
Combine = Literal["rrf"]

API_KEY_VARIABLE: Final = "QWEN3_RERANK_API_KEY"
DEFAULT_MODEL: Final = "Qwen/Qwen3-Reranker-0.6B"
_LARGEST: Final = sys.float_info.max


def printed(value: Any) -> str:
    """`repr(value)` as an error shows it: its first 200 characters."""
    try:
        return repr(value)[:200]
    except ValueError:  # Python prints no int of more than 4300 digits.
        return "a number too large to print"


def is_finite(value: Any) -> bool:
    """Whether it is a number that a float can hold; True and False are not numbers here."""
    number = type(value) is float or (
        isinstance(value, int | float) and not isinstance(value, bool)
    )
    # Compared, because math.isfinite cannot take an int beyond every float.
    return number and -_LARGEST <= value <= _LARGEST


def whole_number(name: str, value: Any, *, minimum: int) -> int:
    """`value` if it is an int of at least `minimum`; True and False are not numbers here.

    Raises:
        InvalidInputError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise InvalidInputError(
            f"{name} must be a whole number of at least {minimum}, not {printed(value)}."
        )
    return value


def text_or_path(name: str, value: Any) -> str:
    """`value` as a str if it is a path, or a str with something in it.

    Raises:
        InvalidInputError: it is neither.
    """
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str) or not text.strip():
        raise InvalidInputError(f"{name} must be a non-empty str, not {value!r}.")
    return text


def check_instruction(value: Any) -> None:
    """Raise InvalidInputError unless `value` is None or a str with something in it."""
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise InvalidInputError(
            f"instruction must be a non-empty str, or None for web search, not {value!r}."
        )


def check_top_n(value: Any) -> int | None:
    """`top_n` as passed: an int of at least 1, or None for all documents.

    Raises:
        InvalidInputError: anything else, 0 included.
    """
    if value is None:
        return None
    if value == 0 and not isinstance(value, bool):
        raise InvalidInputError("top_n is 0, which would drop every document. For all: None.")
    return whole_number("top_n", value, minimum=1)


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise InvalidInputError unless `value` is one of `choices`."""
    if value not in choices:
        raise InvalidInputError(f"{name} must be one of {', '.join(choices)}, not {value!r}.")


def check_threshold(value: Any) -> None:
    """Raise InvalidInputError unless `value` is None or a finite number in [0, 1]."""
    if value is None:
        return
    if not is_finite(value) or not 0 <= value <= 1:
        raise InvalidInputError(
            f"score_threshold must be a probability from 0 to 1, or None, not {printed(value)}."
        )


def _about(text: str) -> dict[str, str]:
    return {"about": text}


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankSettings:
    """What a Reranker does with any engine: the names, defaults and meanings of its settings.

    Reranker, the adapters' fields and the command line take them from here.

    Raises:
        InvalidInputError: a value of the wrong type or out of range.
    """

    top_n: int | None = field(
        default=None,
        metadata=_about("How many are returned, at least 1. None: all."),
    )
    instruction: str | None = field(
        default=None,
        metadata=_about("The task in one sentence, or a preset's name. None: web search."),
    )
    score_threshold: float | None = field(
        default=None,
        metadata=_about("What scores below it is left out, in [0, 1]. None: nothing is."),
    )
    overflow: Overflow = field(
        default="truncate",
        metadata=_about(
            "A text over the budget is cut, scored in windows ('window'), or an error."
        ),
    )
    max_length: int | None = field(
        default=None,
        metadata=_about("Tokens of a whole prompt, at least 1. None: the engine's own."),
    )
    window_overlap: int = field(
        default=64,
        metadata=_about("Most tokens that neighbouring windows share; a window needs twice."),
    )
    on_error: OnError = field(
        default="raise",
        metadata=_about(
            "'keep_order' returns the retriever's order, marked in metadata as rerank_status, when "
            "scoring fails."
        ),
    )
    max_documents: int | None = field(
        default=None,
        metadata=_about(
            "Only the first so many documents, at least 1, are scored; the others follow in their "
            "order, marked. None: all."
        ),
    )
    combine: Combine | None = field(
        default=None,
        metadata=_about(
            "'rrf' orders by the retriever's and the reranker's ranks together (reciprocal rank "
            "fusion, c = 60). None: by score."
        ),
    )

    def __post_init__(self) -> None:
        check_instruction(self.instruction)
        check_top_n(self.top_n)
        check_threshold(self.score_threshold)
        check_choice("overflow", self.overflow, get_args(Overflow))
        check_choice("on_error", self.on_error, get_args(OnError))
        if self.max_length is not None:
            whole_number("max_length", self.max_length, minimum=1)
        whole_number("window_overlap", self.window_overlap, minimum=0)
        if self.max_documents is not None:
            whole_number("max_documents", self.max_documents, minimum=1)
        if self.combine is not None:
            check_choice("combine", self.combine, get_args(Combine))


DEFAULTS: Final = RerankSettings()
# Name -> what a setting means.
SETTINGS: Final = {setting.name: setting.metadata["about"] for setting in fields(RerankSettings)}


def environment(name: str) -> str | None:
    """The value of an environment variable, stripped; None if it is unset or blank."""
    return os.environ.get(name, "").strip() or None


def is_blank(name: str) -> bool:
    """Whether an environment variable is set to nothing, as CUDA_VISIBLE_DEVICES= hides GPUs."""
    return not os.environ.get(name, "unset").strip()


def flag(name: str) -> bool:
    """Whether an environment variable is true (1, true, yes or on, in any case)."""
    return (environment(name) or "").lower() in {"1", "true", "yes", "on"}


def child_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment for a child process: this one's, and those of `variables` it does not set."""
    return {**os.environ, **_unset_variables(variables)}


@contextmanager
def environment_defaults(variables: Mapping[str, str]) -> Iterator[None]:
    """Set those of `variables` that are unset or blank, in the block; restore them after it.

    Not for two threads at once.
    """
    added = _unset_variables(variables)
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _unset_variables(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if environment(name) is None}


def api_key_from_environment() -> str | None:
    """The API key in QWEN3_RERANK_API_KEY, or None."""
    return environment(API_KEY_VARIABLE)
