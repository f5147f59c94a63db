"""An ASGI middleware for vLLM's server: nothing but a health check is answered without the key.

vLLM's own --api-key guards paths that begin with /v1 and few others; /rerank, /classify, /tokenize
and more stay open. vLLM imports this file in the server's process, also in a container that has
nothing else of this package: so the standard library must do.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from hashlib import sha256
from hmac import compare_digest
from typing import Any, Final

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# The variable from which vLLM takes the key where --api-key does not show it to every user.
KEY_VARIABLE: Final = "VLLM_API_KEY"
# For load balancers and probes, which carry no key; both say only whether the engine lives.
OPEN_PATHS: Final = ("/health", "/ping")
_BODY: Final = b'{"error": "Unauthorized"}'
_HEADERS: Final = (
    (b"content-type", b"application/json"),
    (b"content-length", str(len(_BODY)).encode()),
    (b"www-authenticate", b"Bearer"),
)


class KeyGuard:
    """Answers 401 to every request without the key, whatever its path and method.

    Args:
        app: the server's application.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        key = os.environ.get(KEY_VARIABLE, "")
        # An empty key would match "Bearer "; without a key every request is refused.
        self._digest = sha256(key.encode()).digest() if key else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "lifespan" or self._admits(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send({"type": "http.response.start", "status": 401, "headers": list(_HEADERS)})
            await send({"type": "http.response.body", "body": _BODY})

    def _admits(self, scope: Scope) -> bool:
        headers = dict(scope["headers"])
        return (
            _is_health_check(scope)
            or _is_preflight(scope, headers)
            or self._is_key(headers.get(b"authorization", b""))
        )

    def _is_key(self, authorization: bytes) -> bool:
        scheme, _, key = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or self._digest is None:
            return False
        return compare_digest(sha256(key).digest(), self._digest)


def _is_health_check(scope: Scope) -> bool:
    # The exact paths, so that no spelling of another route can look like one of them.
    path, root = scope["path"], scope.get("root_path", "")
    return scope.get("method") in ("GET", "HEAD") and path.removeprefix(root) in OPEN_PATHS


def _is_preflight(scope: Scope, headers: MutableMapping[bytes, bytes]) -> bool:
    """Whether a browser asks for permission, without the key; vLLM's CORS layer answers it."""
    asks = b"origin" in headers and b"access-control-request-method" in headers
    return scope.get("method") == "OPTIONS" and asks
