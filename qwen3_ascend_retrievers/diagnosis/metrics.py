"""vLLM's counters behind /metrics, as far as a check needs them."""

from __future__ import annotations

import re
from typing import Final

import httpx

# The counter's name since vLLM 0.9; older ones count per queries and hits without "_total".
_HITS: Final = re.compile(r"^vllm:(?:gpu_)?prefix_cache_hits(?:_total)?(?:\{[^}]*\})? (\S+)$", re.M)
_SECONDS: Final = 10.0


def cache_hits(base_url: str | None) -> float | None:
    """Tokens that the server took from its prefix cache so far; None where nobody says."""
    if base_url is None:
        return None
    root = re.sub(r"/v1/?$", "", base_url.rstrip("/"))
    try:
        reply = httpx.get(f"{root}/metrics", timeout=_SECONDS)
        found = [float(value) for value in _HITS.findall(reply.text)]
    except (httpx.HTTPError, ValueError):
        return None
    return sum(found) if found and reply.status_code == 200 else None
