"""The engine's own connections, configured by its settings and the environment."""

from __future__ import annotations

import os
import ssl
from collections import defaultdict, deque
from collections.abc import Callable
from functools import lru_cache, partial
from importlib import import_module
from typing import Any, Final

import anyio
import httpcore
import httpx

from ....errors import ConnectionFailedError, InvalidInputError, MissingDependencyError
from ..config import RemoteConfig
from .causes import without_message
from .proxies import EnvironmentProxies

_Connect = Callable[[], httpcore.AsyncConnectionInterface]
# vLLM's server (uvicorn) closes idle connections after 5 s; this side must close them first.
KEEPALIVE_SECONDS: Final = 3.0
_CERTIFICATE_ADVICE: Final = (
    "Correct or unset SSL_CERT_FILE, SSL_CERT_DIR and SSLKEYLOGFILE, of which at least one leads "
    "to no usable file."
)


class Connections:
    """The connections to all servers from one event loop. The one used last is used next.

    They are httpcore's, of which httpx is made. Its pools are not used: they walk all connections,
    and all requests that wait, at each step of every request.

    Args:
        config: the engine's settings.
        proxies: the environment's, on the way of new connections.

    Raises:
        InvalidInputError: `verify` is no CA file.
        MissingDependencyError: the environment names a SOCKS proxy, and socksio is missing.
        ConnectionFailedError: the environment's proxies or certificates cannot be used.
    """

    def __init__(self, config: RemoteConfig, proxies: EnvironmentProxies) -> None:
        self._proxies = proxies
        self._context = _ssl_context(config)
        self._connectors: dict[str, _Connect] = {}
        self._idle: defaultdict[str, deque[httpcore.AsyncConnectionInterface]] = defaultdict(deque)
        _check_proxies(proxies, self._context)

    async def take(self, server: str) -> httpcore.AsyncConnectionInterface:
        """One that leads to `server`, or will when it is used; it must be given back."""
        idle = self._idle[server]
        # The oldest are at the left, where more than one may have expired.
        while idle and _is_over(idle[0]):
            await idle.popleft().aclose()
        while idle:
            connection = idle.pop()
            if not _is_over(connection):
                return connection
            await connection.aclose()
        if server not in self._connectors:
            proxy = self._proxies.of(server)
            self._connectors[server] = _connector(server, proxy, self._context)
        return self._connectors[server]()

    async def give_back(self, server: str, connection: httpcore.AsyncConnectionInterface) -> None:
        """Let another request have it, or close it if not exactly one reply was read from it."""
        if connection.is_idle() and not _has_unread(connection):
            self._idle[server].append(connection)
        else:
            with anyio.CancelScope(shield=True):
                await connection.aclose()

    async def aclose(self) -> None:
        """Close them all."""
        for idle in self._idle.values():
            while idle:
                await idle.pop().aclose()


def _is_over(connection: httpcore.AsyncConnectionInterface) -> bool:
    return connection.is_closed() or connection.has_expired()


def _has_unread(connection: httpcore.AsyncConnectionInterface) -> bool:
    """Whether more than a reply was received, which would be taken for that to the next request.

    Bytes that come later make the connection expire. httpcore itself does not look for these, so
    this goes through attributes of it that are not public; without them nothing is known.
    """
    inner: Any = connection
    while (wrapped := getattr(inner, "_connection", None)) is not None:
        inner = wrapped
    state = getattr(inner, "_h11_state", None)
    return state is not None and bool(state.trailing_data[0])


def _connector(server: str, proxy: str | None, context: ssl.SSLContext) -> _Connect:
    """Makes connections to a server; a pool that is used for nothing else knows how."""
    address = httpx.URL(server)
    port = address.port or {"http": 80, "https": 443}[address.scheme]
    origin = httpcore.Origin(address.raw_scheme, address.raw_host, port)
    return partial(_pool(proxy, context).create_connection, origin)


def _pool(proxy: str | None, context: ssl.SSLContext) -> httpcore.AsyncConnectionPool:
    if proxy is None:
        return httpcore.AsyncConnectionPool(context, keepalive_expiry=KEEPALIVE_SECONDS)
    # It takes user and password out of the URL.
    parsed = httpx.Proxy(proxy)
    url = httpcore.URL(
        scheme=parsed.url.raw_scheme,
        host=parsed.url.raw_host,
        port=parsed.url.port,
        target=parsed.url.raw_path,
    )
    if parsed.url.scheme.startswith("socks5"):
        import_module("socksio")
        return httpcore.AsyncSOCKSProxy(
            url, parsed.raw_auth, context, keepalive_expiry=KEEPALIVE_SECONDS
        )
    return httpcore.AsyncHTTPProxy(
        url, parsed.raw_auth, ssl_context=context, keepalive_expiry=KEEPALIVE_SECONDS
    )


def _check_proxies(proxies: EnvironmentProxies, context: ssl.SSLContext) -> None:
    """Raise for proxies that httpx cannot use, whether they are on the way or not."""
    try:
        proxies.check_ports()
        for proxy in proxies.all():
            _pool(proxy, context)
        return
    except ImportError as error:
        raise MissingDependencyError(
            "ALL_PROXY, HTTPS_PROXY or HTTP_PROXY in the environment is a SOCKS proxy, for which "
            "httpx lacks a library. Unset it, or install that: pip install 'httpx[socks]'"
        ) from error
    except (ValueError, httpx.InvalidURL) as error:
        # httpx quotes a piece of the proxy's URL, where a password may be.
        cause = without_message(error)
    raise ConnectionFailedError(
        "No way to any server: httpx cannot use the environment's proxies. Correct or unset "
        "HTTP_PROXY, HTTPS_PROXY and ALL_PROXY, which are URLs like http://proxy:3128."
    ) from cause


def _ssl_context(config: RemoteConfig) -> ssl.SSLContext:
    verify = config.verify
    if isinstance(verify, ssl.SSLContext):
        return verify
    if isinstance(verify, str):
        return _context_of_file(verify)
    try:
        return _default_context(verify, config.trust_env)
    except OSError as error:
        raise ConnectionFailedError(
            f"No way to any server: {error}. {_CERTIFICATE_ADVICE}"
        ) from error


def _context_of_file(path: str) -> ssl.SSLContext:
    try:
        if os.path.isdir(path):
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)
    except (OSError, ValueError) as error:
        # Only the error of SSLKEYLOGFILE has a file name.
        if getattr(error, "filename", None) is not None:
            message = f"No way to any server: {error}. {_CERTIFICATE_ADVICE}"
            raise ConnectionFailedError(message) from error
        raise InvalidInputError(f"verify={path!r} is no readable CA file: {error}") from error


@lru_cache(maxsize=4)
def _default_context(verify: bool, trust_env: bool) -> ssl.SSLContext:
    """httpx's own; reading the CA certificates again for each loop takes 50 ms."""
    return httpx.create_ssl_context(verify=verify, trust_env=trust_env)
