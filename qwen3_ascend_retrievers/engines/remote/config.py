"""The engine's settings, checked, and the addresses made of `base_url`. No I/O."""

from __future__ import annotations

import base64
import binascii
import re
import ssl
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, get_args

import httpx
from pydantic import SecretStr

from ...errors import InvalidInputError
from ...settings import api_key_from_environment, check_choice, is_finite, printed, whole_number
from .protocol.discovery import AUTO, dialect_of_name
from .protocol.template_owner import RequestedMode, RouteChoice, ScoreChoice, TemplateChoice
from .redaction import Secrets

# What a base_url may end in: the API's version, or the whole route of reranking.
_API_VERSION: Final = re.compile(r"(/v[12])?/*$")
_RERANK_ROUTE: Final = re.compile(r"(/v\d+)?/(rerank|reranks|reranking)/*$")
# The value of `name=value` in a cookie or an auth parameter; shorter values are words.
_ASSIGNED_VALUE: Final = re.compile(r"=\"?([^\s;,\"]{8,})")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Tokens of one request, so that it ends well within the timeout on slow devices too.
MAX_TOKENS: Final = 65_536

# Arguments that are written down as they are.
_PLAIN: Final = (
    "timeout",
    "deadline",
    "max_retries",
    "max_connections",
    "batch_size",
    "tokenizer",
    "tokenizer_revision",
    "backoff",
    "cooldown",
    "trust_env",
    "balance",
)
Balance = Literal["failover", "least_busy"]


class Address(NamedTuple):
    """A server's address.

    Attributes:
        root: without `/v1`, a route, or a slash at its end.
        route: the route of reranking that was typed, under the root; None leaves it to the dialect.
    """

    root: str
    route: str | None

    def __str__(self) -> str:
        if self.route is None and _RERANK_ROUTE.search(self.root):
            # A prefix of that name, which must not be read as the route.
            return self.root + "/v1"
        return self.root + (self.route or "")


@dataclass(frozen=True, kw_only=True)
class RemoteConfig:
    """Checked settings of a RemoteEngine; see there for what they mean.

    Raises:
        InvalidInputError: a setting of the wrong type or out of range.
    """

    addresses: tuple[Address, ...]
    model: str | None
    dialect: str
    api_key: SecretStr | None = field(repr=False)
    requested: RequestedMode
    timeout: float
    deadline: float
    max_retries: int | None
    max_connections: int
    batch_size: int
    headers: Mapping[str, SecretStr] = field(repr=False)
    verify: Any
    tokenizer: str | None
    tokenizer_revision: str | None
    backoff: float
    cooldown: float
    trust_env: bool
    balance: Balance

    def __post_init__(self) -> None:
        check_choice("template", self.requested.template, get_args(TemplateChoice))
        check_choice("protocol", self.requested.protocol, get_args(RouteChoice))
        check_choice("scores", self.requested.scores, get_args(ScoreChoice))
        check_choice("balance", self.balance, get_args(Balance))
        if self.dialect != AUTO:
            dialect_of_name(self.dialect)
        for name in ("timeout", "deadline"):
            _check_seconds(name, getattr(self, name), above_zero=True)
        for name in ("backoff", "cooldown"):
            _check_seconds(name, getattr(self, name), above_zero=False)
        if self.max_retries is not None:
            whole_number("max_retries", self.max_retries, minimum=0)
        if not isinstance(self.trust_env, bool):
            raise InvalidInputError(f"trust_env must be True or False, not {self.trust_env!r}.")
        whole_number("max_connections", self.max_connections, minimum=1)
        whole_number("batch_size", self.batch_size, minimum=1)
        if not isinstance(self.verify, bool | str | ssl.SSLContext):
            raise InvalidInputError("verify must be True, False, a CA file or an SSLContext.")
        for name in ("model", "tokenizer", "tokenizer_revision"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value.strip()):
                raise InvalidInputError(f"{name} must be a non-empty str or None, not {value!r}.")

    def config(self) -> dict[str, Any]:
        """JSON-safe constructor arguments, without the key, the headers and http clients."""
        urls = list(map(str, self.addresses))
        arguments: dict[str, Any] = {
            "base_url": urls[0] if len(urls) == 1 else urls,
            "model": self.model,
            "dialect": self.dialect,
            "template": self.requested.template,
            "protocol": self.requested.protocol,
            "scores": self.requested.scores,
        }
        arguments |= {name: getattr(self, name) for name in _PLAIN}
        if isinstance(self.verify, bool | str):
            arguments["verify"] = self.verify
        return arguments

    def request_headers(self, request_id: str) -> RequestHeaders:
        """The headers of every request; the caller's own override the standard ones."""
        own = {name.lower() for name in self.headers}
        standard = {
            "X-Request-Id": request_id,
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            "Content-Type": "application/json",
        }
        values = {
            name: SecretStr(value) for name, value in standard.items() if name.lower() not in own
        }
        if self.api_key is not None and "authorization" not in own:
            values["Authorization"] = SecretStr(f"Bearer {self.api_key.get_secret_value()}")
        return RequestHeaders(values | dict(self.headers))

    def secrets(self) -> Secrets:
        """What must never be shown: the key, and every value of the caller's own headers."""
        keys = [self.api_key.get_secret_value()] if self.api_key else []
        return Secrets(
            [*keys, *_secret_parts(header.get_secret_value() for header in self.headers.values())]
        )


class RequestHeaders:
    """The headers of a request, for the http client alone.

    Error collectors print the local variables of frames, and the contents of mappings and
    sequences among them: so this is neither, and its values are only reached by iterating.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, SecretStr]) -> None:
        self._values = dict(values)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((name, value.get_secret_value()) for name, value in self._values.items())


def _secret_parts(values: Iterable[str]) -> Iterator[str]:
    """Header values, and the parts of them that are secrets by themselves."""
    for value in values:
        scheme, _, credentials = value.rpartition(" ")
        yield value
        yield credentials
        yield from _ASSIGNED_VALUE.findall(value)
        if scheme.lower() == "basic":
            try:
                plain = base64.b64decode(credentials).decode("latin-1")
            except binascii.Error:
                continue
            yield plain
            yield plain.partition(":")[2]


def addresses_of(base_url: Any) -> tuple[Address, ...]:
    """The servers' addresses, without duplicates.

    Raises:
        InvalidInputError: there is no address, or one is no plain http(s) URL.
    """
    urls = [base_url] if isinstance(base_url, str) else base_url
    if isinstance(urls, list | tuple) and not urls:
        raise InvalidInputError("base_url is an empty list; it needs at least one URL.")
    if not isinstance(urls, list | tuple):
        raise InvalidInputError(
            f"base_url must be a URL, or a list of URLs of replicas, not {type(base_url).__name__}."
        )
    return tuple(dict.fromkeys(_address(url) for url in urls))


def _address(url: Any) -> Address:
    example = "use something like http://npu-host:8000"
    address = _parsed(url)
    if address is None:
        raise InvalidInputError(f"base_url is no URL; {example}.")
    if address.userinfo:
        raise InvalidInputError(
            "base_url must hold no user or password, which would end up in logs; pass api_key=... "
            "or headers=..."
        )
    if address.scheme not in ("http", "https") or not address.host:
        raise InvalidInputError(f"base_url has no http:// or https:// host; {example}.")
    if address.query or address.fragment:
        raise InvalidInputError(f"base_url must end before '?' and '#'; {example}.")
    if address.port is not None and not 0 < address.port < 65_536:
        raise InvalidInputError(f"base_url has the port {address.port}, not one of 1 to 65535.")
    text = str(address).rstrip("/")
    if route := _RERANK_ROUTE.search(text):
        return Address(text[: route.start()], route.group())
    return Address(_API_VERSION.sub("", text), None)


def _parsed(url: Any) -> httpx.URL | None:
    try:
        return httpx.URL(url.strip())
    except (AttributeError, TypeError, ValueError, httpx.InvalidURL):
        # Not raised from it: httpx quotes a piece of the URL, where a password may be.
        return None


def masked(value: Any) -> Any:
    """A str as a SecretStr, the values of a dict likewise, anything else unchanged.

    Called before anything can fail: no frame of a traceback may hold a key in plain text.
    """
    if isinstance(value, str):
        return SecretStr(value)
    if isinstance(value, Mapping):
        return {name: masked(secret) for name, secret in value.items()}
    return value


def key_of(api_key: Any) -> SecretStr | None:
    """The key as a secret, from the argument or else QWEN3_RERANK_API_KEY; None without one.

    Args:
        api_key: the argument, masked.

    Raises:
        InvalidInputError: it is no str or SecretStr, or no valid header value.
    """
    secret = masked(api_key_from_environment()) if api_key is None else api_key
    if secret is None:
        return None
    if not isinstance(secret, SecretStr):
        raise InvalidInputError("api_key must be a str or SecretStr.")
    if not _fits_a_header(secret):
        raise InvalidInputError("api_key holds spaces, line ends or letters that no header takes.")
    return secret if secret.get_secret_value() else None


def headers_of(headers: Any) -> dict[str, SecretStr]:
    """The caller's headers, a copy; any of them may hold a secret.

    Args:
        headers: the argument, masked.

    Raises:
        InvalidInputError: they are no mapping of str to ASCII str.
    """
    if headers is None:
        return {}
    if not isinstance(headers, dict):
        raise InvalidInputError("headers must be a mapping of str to str.")
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, SecretStr):
            raise InvalidInputError("headers must be a mapping of str to str.")
        # httpx would quote a value that it cannot send in its own error.
        if not _HEADER_NAME.fullmatch(name) or not _fits_a_header(value):
            raise InvalidInputError(
                f"The header {printed(name)} holds letters that no header takes."
            )
    return headers


def _fits_a_header(secret: SecretStr) -> bool:
    value = secret.get_secret_value()
    return value.isascii() and value.isprintable() and value == value.strip()


def _check_seconds(name: str, value: Any, *, above_zero: bool) -> None:
    if not is_finite(value) or value < 0 or (above_zero and value == 0):
        least = "above 0" if above_zero else "of at least 0"
        raise InvalidInputError(
            f"{name} must be a number of seconds {least}, not {printed(value)}."
        )
