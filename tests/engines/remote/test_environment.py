"""Proxies and certificates that the environment names wrongly: said as such, never a raw error."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from typing import Any

import certifi
import httpx
import pytest

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.engines.remote.http import client
from qwen3_ascend_retrievers.errors import (
    ConnectionFailedError,
    InvalidInputError,
    MissingDependencyError,
)
from support.remote_rankings import DOCUMENTS, QUERY, check_ranking

UNUSABLE = [
    ("HTTP_PROXY", "garbage://user:password@x"),
    ("HTTP_PROXY", "http://127.0.0.1:80800"),
    ("ALL_PROXY", "127.0.0.1:-1"),
    ("HTTPS_PROXY", "http://user:password#@x"),
    ("NO_PROXY", "127.0.0.0/8,::1/128"),
    ("NO_PROXY", "fe80::/10"),
    ("NO_PROXY", "[::1]"),
    ("SSL_CERT_FILE", "/no/such/file"),
    ("SSLKEYLOGFILE", "/no/such/folder/x"),
]


@pytest.fixture(autouse=True)
def certificates_are_read_anew() -> Iterator[None]:
    client._default_context.cache_clear()
    yield
    client._default_context.cache_clear()


@pytest.mark.parametrize(("name", "value"), UNUSABLE, ids=str)
async def test_an_unusable_variable_is_named(
    serve: Any, connect: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    engine = connect(serve().url)
    monkeypatch.setenv(name, value)
    with pytest.raises(ConnectionFailedError, match=f"unset.*{name}") as caught:
        await Reranker(engine).arank(QUERY, DOCUMENTS)
    assert "password" not in "".join(traceback.format_exception(caught.value))
    ranking = await Reranker(engine, on_error="keep_order").arank(QUERY, DOCUMENTS)
    assert ranking.status == "kept_order"
    monkeypatch.delenv(name)
    check_ranking(await Reranker(engine).arank(QUERY, DOCUMENTS))


def test_the_library_for_a_socks_proxy_is_named(
    connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    with pytest.raises(MissingDependencyError, match=r"ALL_PROXY.*pip install 'httpx\[socks\]'$"):
        connect("http://127.0.0.1:9").facts()


def test_a_usable_proxy_is_used(serve: Any, monkeypatch: pytest.MonkeyPatch, connect: Any) -> None:
    proxy = serve()
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    with pytest.raises(Exception, match="no-such-host"):
        connect("http://no-such-host.invalid", max_retries=0).facts()
    assert proxy.requests[0].path == "http://no-such-host.invalid/v1/models"


def test_a_ca_file_is_not_blamed_for_the_log_of_keys(
    connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = connect("https://127.0.0.1:9", verify=certifi.where(), max_retries=0)
    with monkeypatch.context() as patch:
        patch.setenv("SSLKEYLOGFILE", "/no/such/folder/x")
        with pytest.raises(ConnectionFailedError, match="SSLKEYLOGFILE"):
            engine.facts()
    with pytest.raises(ConnectionFailedError, match="server is up"):
        engine.facts()


@pytest.mark.parametrize("wrong", ["/no/such/file.pem", "a\0b", __file__])
def test_a_ca_file_that_is_none_is_named(connect: Any, wrong: str) -> None:
    with pytest.raises(InvalidInputError, match="no readable CA file"):
        connect("https://127.0.0.1:9", verify=wrong).facts()


@pytest.mark.parametrize("host", ["a..b", "a" * 64])
async def test_a_host_that_no_name_can_be(connect: Any, host: str) -> None:
    with httpx.Client(trust_env=False) as sync:
        engine = connect(f"http://{host}:8000", max_retries=0, http_client=sync)
        with pytest.raises(ConnectionFailedError, match="base_url is right"):
            engine.facts()
    with pytest.raises(ConnectionFailedError, match="base_url is right"):
        await connect(f"http://{host}:8000", max_retries=0).afacts()


def test_a_timeout_beyond_what_sockets_count(serve: Any, connect: Any) -> None:
    with httpx.Client() as sync:
        engine = connect(serve().url, timeout=1e300, deadline=1e300, http_client=sync)
        check_ranking(Reranker(engine).rank(QUERY, DOCUMENTS))
