"""Checks before a server starts: its key, its maximum length, further arguments of vLLM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from ..engines.remote.protocol.canary import SHORTEST
from ..errors import InvalidInputError
from ..models.checkpoint import VISION_ARCHITECTURE

# argparse also takes prefixes of names; no other name has this one.
_KEY_FLAG: Final = "--api-k"
_LENGTH_FLAG: Final = "--max-model-l"
_OVERRIDES_FLAG: Final = "--hf-o"


def check_key(key: str, source: str) -> str:
    """The key, if a header can hold it.

    Args:
        key: without spaces around it.
        source: a file's or variable's name; the key itself is never shown.

    Raises:
        InvalidInputError: it is empty, has several lines, or letters that no header takes.
    """
    if not key:
        raise InvalidInputError(f"{source} is empty. Put a key into it.")
    if len(key.splitlines()) > 1:
        raise InvalidInputError(
            f"{source} has {len(key.splitlines())} lines. One key is served: put it on one line."
        )
    if not key.isascii() or not key.isprintable():
        raise InvalidInputError(
            f"{source} has letters that no HTTP header takes. Use ASCII letters and digits."
        )
    return key


def check_extra(extra: Sequence[str]) -> None:
    """Raise InvalidInputError for a key, or the vision model's architecture, among vLLM's own."""
    if any(name.startswith(_KEY_FLAG) for name, _ in _flag_values(extra)):
        raise InvalidInputError(
            "vLLM's --api-key shows the key to every user of this machine and leaves /rerank, "
            "/classify and /tokenize open. Put the key into a file: --api-key-file FILE."
        )
    if any(
        name.startswith(_OVERRIDES_FLAG) and VISION_ARCHITECTURE in value
        for name, value in _flag_values(extra)
    ):
        raise InvalidInputError(
            f"{VISION_ARCHITECTURE} is the vision model's architecture, and vLLM does not load the "
            "text model under it. Leave --hf-overrides out: the right ones are set here."
        )


def check_length(max_length: int | None, positions: int | None, extra: Sequence[str]) -> None:
    """Raise InvalidInputError for prompts that are too short to be checked.

    Args:
        max_length: of --max-length, if any.
        positions: the model's maximum, if that is known.
        extra: vLLM's own arguments, whose --max-model-len wins.
    """
    lengths = {
        f"--max-model-len {value}": int(value)
        for name, value in _flag_values(extra)
        if name.startswith(_LENGTH_FLAG) and value.isdecimal()
    }
    if not lengths and max_length is not None:
        lengths = {f"--max-length {max_length}": max_length}
    if positions is not None:
        lengths[f"The model's maximum of {positions} tokens"] = positions
    for setting, length in lengths.items():
        if length < SHORTEST:
            raise InvalidInputError(
                f"{setting} is too short: the template and a short query alone take about 100 "
                f"tokens, and the server's scores can be checked from {SHORTEST} on. Serve with "
                f"--max-length {SHORTEST} or more; 8192 is usual."
            )


def _flag_values(extra: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Flags with dashes, as vLLM reads them, and the values that follow."""
    for word, following in pairwise((*extra, "")):
        name, equals, value = word.partition("=")
        if name.startswith("--"):
            yield name.replace("_", "-"), value if equals else following
