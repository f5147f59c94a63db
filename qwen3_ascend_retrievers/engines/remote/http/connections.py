"""The engine's own http client, configured by its settings and the environment."""

from __future__ import annotations

import os
import ssl
from functools import lru_cache
from typing import Final

import httpx

from ....errors import ConnectionFailedError, InvalidInputError, MissingDependencyError
from ..config import RemoteConfig
from .causes import without_message
from .proxies import EnvironmentProxies

# vLLM's server (uvicorn) closes idle connections after 5 s; this side must close them first.
KEEPALIVE_SECONDS: Final = 3.0
_CERTIFICATE_ADVICE: Final = (
    "Correct or unset SSL_CERT_FILE, SSL_CERT_DIR and SSLKEYLOGFILE, of which at least one leads "
    "to no usable file."
)


def make_client(config: RemoteConfig, proxies: EnvironmentProxies) -> httpx.AsyncClient:
    """A client for one event loop.

    Args:
        config: the engine's settings.
        proxies: the environment's, for which the client is made; checked here.

    Raises:
        InvalidInputError: `verify` is no CA file.
        MissingDependencyError: the environment names a SOCKS proxy, and socksio is missing.
        ConnectionFailedError: the environment's proxies or certificates cannot be used.
    """
    verify, max_connections = _verify_setting(config.verify), config.max_concurrency
    try:
        proxies.check_ports()
        return httpx.AsyncClient(
            trust_env=config.trust_env,
            verify=_default_context(config.trust_env) if verify is True else verify,
            timeout=None,  # noqa: S113 - every request has its own, and a limit in total
            limits=httpx.Limits(
                max_connections=max_connections,
                max_keepalive_connections=max_connections,
                keepalive_expiry=KEEPALIVE_SECONDS,
            ),
        )
    except ImportError as error:
        raise MissingDependencyError(
            "ALL_PROXY, HTTPS_PROXY or HTTP_PROXY in the environment is a SOCKS proxy, for which "
            "httpx lacks a library. Unset it, or install that: pip install 'httpx[socks]'"
        ) from error
    except OSError as error:
        raise ConnectionFailedError(
            f"No way to any server: {error}. {_CERTIFICATE_ADVICE}"
        ) from error
    except (ValueError, httpx.InvalidURL) as error:
        # httpx quotes a piece of the proxy's URL, where a password may be.
        cause = without_message(error)
    raise ConnectionFailedError(
        "No way to any server: httpx cannot use the environment's proxies. Correct or unset "
        "HTTP_PROXY, HTTPS_PROXY and ALL_PROXY, which are URLs like http://proxy:3128, and "
        "NO_PROXY, which is a list of host names and IP addresses (::1 without brackets; httpx "
        "knows no ranges of IPv6)."
    ) from cause


def _verify_setting(verify: bool | str | ssl.SSLContext) -> bool | ssl.SSLContext:
    if not isinstance(verify, str):
        return verify
    try:
        if os.path.isdir(verify):
            return ssl.create_default_context(capath=verify)
        return ssl.create_default_context(cafile=verify)
    except (OSError, ValueError) as error:
        # Only the error of SSLKEYLOGFILE has a file name.
        if getattr(error, "filename", None) is not None:
            message = f"No way to any server: {error}. {_CERTIFICATE_ADVICE}"
            raise ConnectionFailedError(message) from error
        raise InvalidInputError(f"verify={verify!r} is no readable CA file: {error}") from error


@lru_cache(maxsize=2)
def _default_context(trust_env: bool) -> ssl.SSLContext:
    """httpx's own; reading the CA certificates again for each client takes 50 ms."""
    return httpx.create_ssl_context(trust_env=trust_env)
