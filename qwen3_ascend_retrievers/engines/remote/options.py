"""The engine's settings, checked, and the addresses made of `base_url`. No I/O."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, get_args

import httpx
from pydantic import SecretStr

from ...core.server_errors import QUOTED
from ...core.template import Protocol, Template, Wishes
from ...errors import InvalidInputError
from ...settings import (
    api_key_from_environment,
    check_choice,
    is_finite,
    printed,
    whole_number,
)

_ENDPOINTS: Final = re.compile(r"(/v[12])?(/rerank)?/*$")
# An ASCII character as JSON may write it, at any depth of JSON within JSON.
_ESCAPE: Final = re.compile(r"(?<!\\)\\+u00([0-7][0-9a-fA-F])")
# A value of three letters is no secret, and would blot out ordinary words.
_SHORT: Final = 3
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Tokens of one request, so that it ends well within the timeout on slow devices too.
MAX_TOKENS: Final = 65_536


@dataclass(frozen=True, kw_only=True)
class Options:
    """Checked settings of a RemoteEngine; see there for what they mean.

    Raises:
        InvalidInputError: a setting of the wrong type or out of range.
    """

    roots: tuple[str, ...]
    model: str | None
    api_key: SecretStr | None = field(repr=False)
    wishes: Wishes
    timeout: float
    deadline: float
    max_retries: int | None
    max_concurrency: int
    batch_size: int
    headers: Mapping[str, SecretStr] = field(repr=False)
    verify: Any
    tokenizer: str | None
    tokenizer_revision: str | None
    backoff: float
    cooldown: float

    def __post_init__(self) -> None:
        check_choice("template", self.wishes.template, get_args(Template))
        check_choice("protocol", self.wishes.protocol, get_args(Protocol))
        for name in ("timeout", "deadline"):
            _seconds(name, getattr(self, name), above_zero=True)
        for name in ("backoff", "cooldown"):
            _seconds(name, getattr(self, name), above_zero=False)
        if self.max_retries is not None:
            whole_number("max_retries", self.max_retries, minimum=0)
        whole_number("max_concurrency", self.max_concurrency, minimum=1)
        whole_number("batch_size", self.batch_size, minimum=1)
        if not isinstance(self.verify, bool | str | ssl.SSLContext):
            raise InvalidInputError("verify must be True, False, a CA file or an SSLContext.")
        for name in ("model", "tokenizer", "tokenizer_revision"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value.strip()):
                raise InvalidInputError(f"{name} must be a non-empty str or None, not {value!r}.")

    def request_headers(self) -> dict[str, str]:
        """What goes with every request; the caller's own headers win."""
        made = {
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            "Content-Type": "application/json",
        }
        if self.api_key is not None:
            made["Authorization"] = f"Bearer {self.api_key.get_secret_value()}"
        lowered = {name.lower() for name in self.headers}
        made = {name: value for name, value in made.items() if name.lower() not in lowered}
        return made | {name: value.get_secret_value() for name, value in self.headers.items()}

    def secrets(self) -> tuple[str, ...]:
        """What must never be shown: the key, and every value of the caller's own headers."""
        found = [self.api_key.get_secret_value()] if self.api_key else []
        for header in self.headers.values():
            value = header.get_secret_value()
            found += [value, value.rpartition(" ")[2]]
        return tuple(sorted({one for one in found if len(one) > _SHORT}, key=len, reverse=True))


def redact(text: str, secrets: Sequence[str]) -> str:
    """`text` with each secret in it replaced by `[key]`, also one that was escaped."""
    for secret in secrets:
        text = text.replace(secret, "[key]")
    plain = _unescaped(text)
    for secret in map(_unescaped, secrets):
        if len(secret) > _SHORT and secret in plain:
            # Without the other escapes too, which is less readable: hence not always.
            text = plain = plain.replace(secret, "[key]")
    return text


def shown(text: str, secrets: Sequence[str], most: int = 2 * QUOTED) -> str:
    """The beginning of what a server sent, as it may be shown; at most `most` characters."""
    # Redacted before it is cut: half a key would not be recognised.
    return redact(text, secrets)[:most]


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text).replace("\\", "")


def roots_of(base_url: Any) -> tuple[str, ...]:
    """The servers' addresses without `/v1`, `/rerank` and trailing slashes, doubles left out.

    Raises:
        InvalidInputError: no address, or one that is no plain http(s) URL.
    """
    given = [base_url] if isinstance(base_url, str) else base_url
    if isinstance(given, list | tuple) and not given:
        raise InvalidInputError("base_url is an empty list; it needs at least one URL.")
    if not isinstance(given, list | tuple):
        raise InvalidInputError(
            f"base_url must be a URL, or a list of URLs of replicas, not {type(base_url).__name__}."
        )
    return tuple(dict.fromkeys(_root(one) for one in given))


def _root(url: Any) -> str:
    example = "use something like http://npu-host:8000"
    try:
        parsed = httpx.URL(url.strip())
    except (AttributeError, TypeError, ValueError, httpx.InvalidURL):
        # httpx quotes a piece of the URL, where a password may be.
        raise InvalidInputError(f"base_url is no URL; {example}.") from None
    if parsed.userinfo:
        raise InvalidInputError(
            "base_url must hold no user or password, which would end up in logs; pass api_key=... "
            "or headers=..."
        )
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidInputError(f"base_url has no http:// or https:// host; {example}.")
    if parsed.query or parsed.fragment:
        raise InvalidInputError(f"base_url must end before '?' and '#'; {example}.")
    if parsed.port is not None and not 0 < parsed.port < 65_536:
        raise InvalidInputError(f"base_url has the port {parsed.port}, not one of 1 to 65535.")
    return _ENDPOINTS.sub("", str(parsed))


def key_of(api_key: Any) -> SecretStr | None:
    """The key as a secret, from the argument or else QWEN3_RERANK_API_KEY; None without one.

    Raises:
        InvalidInputError: it is no str or SecretStr, or could not stand in a header.
    """
    value = api_key.get_secret_value() if isinstance(api_key, SecretStr) else api_key
    if value is None:
        value = api_key_from_environment()
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidInputError("api_key must be a str or SecretStr.")
    if not _fits_a_header(value):
        raise InvalidInputError("api_key holds spaces, line ends or letters that no header takes.")
    return SecretStr(value) if value else None


def headers_of(headers: Any) -> dict[str, SecretStr]:
    """The caller's headers, a copy; any of them may hold a secret.

    Raises:
        InvalidInputError: they are no mapping of str to ASCII str.
    """
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise InvalidInputError("headers must be a mapping of str to str.")
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidInputError("headers must be a mapping of str to str.")
        # httpx would quote a value that it cannot send in its own error.
        if not _HEADER_NAME.fullmatch(name) or not _fits_a_header(value):
            raise InvalidInputError(f"The header {name!r} holds letters that no header takes.")
    return {name: SecretStr(value) for name, value in headers.items()}


def _fits_a_header(value: str) -> bool:
    return value.isascii() and value.isprintable() and value == value.strip()


def _seconds(name: str, value: Any, *, above_zero: bool) -> None:
    if not is_finite(value) or value < 0 or (above_zero and value == 0):
        least = "above 0" if above_zero else "of at least 0"
        raise InvalidInputError(
            f"{name} must be a number of seconds {least}, not {printed(value)}."
        )
