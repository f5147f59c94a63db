"""Which routes of a running server answer without its key."""

from __future__ import annotations

from typing import Final

import httpx

from ..errors import EngineError

# Those that vLLM's own key leaves open in one release or another, and some that it guards. The
# body is not valid for them: without a guard they refuse it with another status.
_ROUTES: Final = (
    ("POST", "/rerank"),
    ("POST", "/v1/rerank"),
    ("POST", "/v2/rerank"),
    ("POST", "/score"),
    ("POST", "/classify"),
    ("POST", "/pooling"),
    ("POST", "/embed"),
    ("POST", "/tokenize"),
    ("POST", "/detokenize"),
    ("POST", "/invocations"),
    ("GET", "/v1/models"),
    ("GET", "/metrics"),
    ("GET", "/load"),
    ("GET", "/version"),
    ("GET", "/openapi.json"),
)
_REFUSED: Final = frozenset({401, 403})
_JSON: Final = {"Content-Type": "application/json"}
_ROUTE_TIMEOUT_SECONDS: Final = 30.0


def open_routes(url: str) -> list[str]:
    """The routes that answer other than "401 Unauthorized" where no key is sent.

    Raises:
        EngineError: the server gives no answer at all.
    """
    exposed: list[str] = []
    # The server is on this machine, whatever proxy the environment names.
    with httpx.Client(base_url=url, timeout=_ROUTE_TIMEOUT_SECONDS, trust_env=False) as client:
        for method, path in _ROUTES:
            content = "{}" if method == "POST" else None
            try:
                answer = client.request(method, path, content=content, headers=_JSON)
            except httpx.TransportError as error:
                raise EngineError(
                    f"The server did not answer on {path} ({type(error).__name__}), so that it is "
                    "not known whether it asks for the key. Its last lines above may say why."
                ) from error
            if answer.status_code not in _REFUSED:
                exposed.append(path)
    return exposed
