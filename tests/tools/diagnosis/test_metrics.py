"""A server's metrics page is waited for and read within bounds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from qwen3_ascend_retrievers.tools.diagnosis import metrics
from support.doctor_runs import fixed_reply_server
from support.rerank_faults import raw
from support.rerank_server import RerankServer

HITS_LINE = b"vllm:prefix_cache_hits_total 5.0\n"


@contextmanager
def sending(parts: list[bytes], pause: float) -> Iterator[str]:
    """The address of a server that sends these parts of a reply, with pauses between."""
    with RerankServer(decide=lambda request: raw("parts", *parts, pause=pause)) as server:
        yield server.url


HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    "slow",
    [[HEAD, b"\r\n", *[b"\n"] * 40, HITS_LINE], [HEAD, *[b"X: y\r\n"] * 40, b"\r\n", HITS_LINE]],
)
def test_a_page_that_drips_is_given_up_as_a_whole(
    slow: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with sending(slow, pause=0) as url:
        assert metrics.cache_hits(url) == 5.0
    monkeypatch.setattr(metrics, "_METRICS_TIMEOUT", 1.0)
    with sending(slow, pause=0.1) as url:
        assert metrics.cache_hits(url) is None


def test_a_page_beyond_belief_is_not_read_to_its_end() -> None:
    with sending([HEAD + b"\r\n", *[b"#" * 999_999 + b"\n"] * 11, HITS_LINE], pause=0) as url:
        assert metrics.cache_hits(url) is None


@pytest.mark.parametrize(
    ("status", "body", "version"),
    [
        (200, b'{"version": "0.32.0"}', "0.32.0"),
        (200, b'{"version": 32}', None),
        (200, b'["0.32.0"]', None),
        (200, b"0.32.0!", None),
        (404, b'{"version": "0.32.0"}', None),
    ],
)
def test_a_server_says_its_version(status: int, body: bytes, version: str | None) -> None:
    with fixed_reply_server(status, body) as url:
        assert metrics.server_version(f"{url}/v1/rerank") == version
    assert metrics.server_version("http://127.0.0.1:9") is None
    assert metrics.server_version(None) is None
