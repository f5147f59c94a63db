"""The engine's own http client, made of its settings and of what the environment says."""

from __future__ import annotations

import os
import ssl
from functools import lru_cache
from typing import Final
from urllib.request import getproxies

import httpx

from ....errors import ConnectionFailedError, InvalidInputError, MissingDependencyError
from ..config import RemoteConfig
from .causes import wordless

# vLLM's server (uvicorn) closes idle connections after 5 s; ours must go first.
KEEPALIVE_SECONDS: Final = 3.0
_CERTIFICATES: Final = (
    "Correct or unset SSL_CERT_FILE, SSL_CERT_DIR and SSLKEYLOGFILE, of which at least one leads "
    "to no usable file."
)


def make_client(config: RemoteConfig) -> httpx.AsyncClient:
    """A client for one event loop.

    Raises:
        InvalidInputError: `verify` is no CA file.
        MissingDependencyError: the environment wants a SOCKS proxy, and socksio is missing.
        ConnectionFailedError: the environment's proxies or certificates cannot be used.
    """
    verify, most = _given(config.verify), config.max_concurrency
    try:
        _check_ports()
        return httpx.AsyncClient(
            verify=_default_context() if verify is True else verify,
            timeout=None,  # noqa: S113 - every request brings its own, and a limit for the whole
            limits=httpx.Limits(
                max_connections=most,
                max_keepalive_connections=most,
                keepalive_expiry=KEEPALIVE_SECONDS,
            ),
        )
    except ImportError as error:
        raise MissingDependencyError(
            "ALL_PROXY, HTTPS_PROXY or HTTP_PROXY in the environment is a SOCKS proxy, for which "
            "httpx lacks a library. Unset it, or install that: pip install 'httpx[socks]'"
        ) from error
    except OSError as error:
        raise ConnectionFailedError(f"No way to any server: {error}. {_CERTIFICATES}") from error
    except (ValueError, httpx.InvalidURL) as error:
        # httpx quotes a piece of the proxy's URL, where a password may be.
        cause = wordless(error)
    raise ConnectionFailedError(
        "No way to any server: httpx cannot use the environment's proxies. Correct or unset "
        "HTTP_PROXY, HTTPS_PROXY and ALL_PROXY, which are URLs like http://proxy:3128, and "
        "NO_PROXY, which is a list of host names and IP addresses (::1 without brackets; httpx "
        "knows no ranges of IPv6)."
    ) from cause


def _check_ports() -> None:
    """Raise ValueError for a proxy's port that httpx would only stumble over in a request."""
    for scheme, proxy in getproxies().items():
        if scheme in ("http", "https", "all"):
            port = httpx.URL(proxy if "://" in proxy else f"http://{proxy}").port
            if port is not None and not 0 < port < 65_536:
                raise ValueError(port)


def _given(verify: bool | str | ssl.SSLContext) -> bool | ssl.SSLContext:
    if not isinstance(verify, str):
        return verify
    try:
        if os.path.isdir(verify):
            return ssl.create_default_context(capath=verify)
        return ssl.create_default_context(cafile=verify)
    except (OSError, ValueError) as error:
        # Only the log of keys is named by its error.
        if getattr(error, "filename", None) is not None:
            told = f"No way to any server: {error}. {_CERTIFICATES}"
            raise ConnectionFailedError(told) from error
        raise InvalidInputError(f"verify={verify!r} is no readable CA file: {error}") from error


@lru_cache(maxsize=1)
def _default_context() -> ssl.SSLContext:
    """httpx's own; reading the CA certificates for each client anew takes 50 ms."""
    return httpx.create_ssl_context()
