"""The proxies that the environment names: whether httpx can use them, and who is behind a failure.

They are read once for each event loop, and stay the same for all connections from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.request import getproxies, proxy_bypass

import httpx

# A proxy returns these by itself: forbidden, not logged in, or the server cannot be reached.
PROXY_STATUSES: Final = frozenset({403, 407, 502, 503, 504})
_SCHEMES: Final = ("http", "https", "all")


@dataclass(frozen=True, slots=True)
class EnvironmentProxies:
    """The proxies of one client.

    Attributes:
        urls: scheme ("http", "https", "all") -> proxy. May hold
            passwords.
    """

    urls: Mapping[str, str]

    @classmethod
    def of_environment(cls) -> EnvironmentProxies:
        """Those of HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in either case."""
        return cls(getproxies())

    def check_ports(self) -> None:
        """Raise ValueError for a proxy's port at which httpx would only fail in a request."""
        for scheme in _SCHEMES:
            if scheme in self.urls:
                port = _proxy_address(self.urls[scheme]).port
                if port is not None and not 0 < port < 65_536:
                    raise ValueError(port)

    def all(self) -> list[str]:
        """Their URLs, each with its scheme."""
        return [_with_scheme(self.urls[scheme]) for scheme in _SCHEMES if self.urls.get(scheme)]

    def of(self, url: str) -> str | None:
        """The URL of the one on the way to `url`; None if there is none."""
        scheme = self._scheme(httpx.URL(url))
        return None if scheme is None else _with_scheme(self.urls[scheme])

    def advice(self, url: str) -> str:
        """A sentence that names the proxy on the way to `url`, with a space before it, or ""."""
        server = httpx.URL(url)
        scheme = self._scheme(server)
        if scheme is None:
            return ""
        # Without user and password.
        proxy = _proxy_address(self.urls[scheme]).netloc.decode()
        return (
            f" The way there is the proxy {proxy} of {scheme.upper()}_PROXY in the environment: if "
            f"the server is reached without it, add {server.host} to NO_PROXY, or pass "
            "trust_env=False."
        )

    def _scheme(self, server: httpx.URL) -> str | None:
        """Which of the variables is for a server."""
        for scheme in (server.scheme, "all"):
            if self.urls.get(scheme):
                return None if proxy_bypass(server.netloc.decode()) else scheme
        return None


NO_PROXIES: Final = EnvironmentProxies({})


def _proxy_address(proxy: str) -> httpx.URL:
    return httpx.URL(_with_scheme(proxy))


def _with_scheme(proxy: str) -> str:
    return proxy if "://" in proxy else f"http://{proxy}"
