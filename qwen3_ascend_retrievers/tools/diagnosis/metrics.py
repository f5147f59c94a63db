"""What a vLLM server says of itself besides scores: its version, and counters behind /metrics."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Final

import anyio
import httpx
from pydantic import SecretStr

from ...engines.remote.config import addresses_of

# The counter's name since vLLM 0.9; older ones count per queries and hits without "_total".
_HITS_LINE: Final = re.compile(
    r"^vllm:(?:gpu_)?prefix_cache_hits(?:_total)?(?:\{[^}]*\})? (\S+)$", re.M
)
# In seconds, for the whole reply; a busy server's page is about 100 kB.
_METRICS_TIMEOUT: Final = 10.0
_MAX_PAGE_BYTES: Final = 10_000_000
_MAX_VERSION: Final = 60


def cache_hits(base_url: str | None, key: SecretStr | None = None) -> float | None:
    """Tokens that the server took from its prefix cache so far; None if unknown."""
    if base_url is None:
        return None
    try:
        page = anyio.run(_fetch, f"{_root_of(base_url)}/metrics", key)
        counts = [float(value) for value in _HITS_LINE.findall(page)]
    except (httpx.HTTPError, ValueError):
        return None
    return sum(counts) if counts else None


def server_version(base_url: str | None, key: SecretStr | None = None) -> str | None:
    """The server's version by its /version; None if it does not say."""
    if base_url is None:
        return None
    with suppress(httpx.HTTPError, ValueError, RecursionError):
        reply = json.loads(anyio.run(_fetch, f"{_root_of(base_url)}/version", key))
        version = reply.get("version") if isinstance(reply, dict) else None
        return version[:_MAX_VERSION] if isinstance(version, str) and version else None
    return None


def _root_of(base_url: str) -> str:
    (address,) = addresses_of(base_url)
    return address.root


async def _fetch(url: str, key: SecretStr | None) -> str:
    """The page; empty if the server refuses it, or it is too long or too slow."""
    page = b""
    headers = {} if key is None else {"Authorization": f"Bearer {key.get_secret_value()}"}
    with anyio.move_on_after(_METRICS_TIMEOUT):
        async with (
            httpx.AsyncClient(timeout=_METRICS_TIMEOUT) as client,
            client.stream("GET", url, headers=headers) as reply,
        ):
            async for part in reply.aiter_bytes():
                page += part
                if len(page) > _MAX_PAGE_BYTES:
                    return ""
            return page.decode("utf-8", "replace") if reply.status_code == 200 else ""
    return ""
