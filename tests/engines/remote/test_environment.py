"""Proxies and certificates that the environment names wrongly: said as such, never a raw error."""

from __future__ import annotations

import socketserver
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import certifi
import httpx
import pytest

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.engines.registry import engine_from_config
from qwen3_ascend_retrievers.engines.remote.http import connections
from qwen3_ascend_retrievers.errors import (
    AuthenticationError,
    ConnectionFailedError,
    DeadlineExceededError,
    InvalidInputError,
    MissingDependencyError,
    RemoteError,
    ReplyError,
)
from support.remote_rankings import DOCUMENTS, QUERY, check_ranking
from support.rerank_faults import SLOW, status
from support.server_threads import in_thread

UNUSABLE = [
    ("HTTP_PROXY", "garbage://user:password@x"),
    ("HTTP_PROXY", "http://127.0.0.1:80800"),
    ("ALL_PROXY", "127.0.0.1:-1"),
    ("HTTPS_PROXY", "http://user:password#@x"),
    ("SSL_CERT_FILE", "/no/such/file"),
    ("SSLKEYLOGFILE", "/no/such/folder/x"),
]


@pytest.fixture(autouse=True)
def certificates_are_read_anew() -> Iterator[None]:
    connections._default_context.cache_clear()
    yield
    connections._default_context.cache_clear()


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


PROXY_ANSWERS = [
    (502, "StatusError"),
    (503, "StatusError"),
    (504, "StatusError"),
    (403, "AuthenticationError"),
    (407, "StatusError"),
]


@pytest.mark.parametrize(("code", "error"), PROXY_ANSWERS, ids=str)
def test_the_proxy_that_replied_is_named(
    serve: Any, connect: Any, monkeypatch: pytest.MonkeyPatch, code: int, error: str
) -> None:
    proxy = serve(decide=lambda request: status(code, "refused"))
    monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("//", "//user:password@"))
    with pytest.raises(RemoteError) as caught:
        connect("http://10.9.8.7:8000", max_retries=0).facts()
    text = str(caught.value)
    assert type(caught.value).__name__ == error
    assert f"the proxy 127.0.0.1:{proxy.port} of HTTP_PROXY" in text
    assert "add 10.9.8.7 to NO_PROXY, or pass trust_env=False" in text
    assert "password" not in text


def test_a_page_of_the_proxy_is_no_reply_of_the_server(
    serve: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(decide=lambda request: status(200, "<html>Log in</html>"))
    monkeypatch.setenv("ALL_PROXY", proxy.url)
    with pytest.raises(ReplyError, match="of ALL_PROXY in the environment"):
        connect("http://10.9.8.7:8000", max_retries=0).facts()


@pytest.mark.parametrize("names", ["127.0.0.0/8,::1/128,127.0.0.1", "[::1],127.0.0.1", "*"])
def test_names_without_proxy_may_be_of_any_kind(
    serve: Any, connect: Any, monkeypatch: pytest.MonkeyPatch, names: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", names)
    check_ranking(Reranker(connect(serve().url)).rank(QUERY, DOCUMENTS))


def test_a_dead_proxy_is_named(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "127.0.0.1:9")
    with pytest.raises(ConnectionFailedError, match=r"the proxy 127.0.0.1:9 of HTTP_PROXY"):
        connect("http://10.9.8.7:8000", max_retries=0).facts()


def test_a_proxy_that_never_replies_is_named(
    serve: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(decide=lambda request: SLOW[0])
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    with pytest.raises(DeadlineExceededError, match="of HTTP_PROXY in the environment"):
        connect("http://10.9.8.7:8000", timeout=0.2, max_retries=0).facts()


def test_no_proxy_is_blamed_that_is_not_on_the_way(
    serve: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(decide=lambda request: status(403, "refused"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with httpx.Client(trust_env=False) as own:
        for settings in ({"trust_env": False}, {"http_client": own}):
            with pytest.raises(AuthenticationError) as caught:
                connect(server.url, max_retries=0, **settings).facts()
            assert "PROXY" not in str(caught.value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(AuthenticationError) as caught:
        connect(server.url, max_retries=0).facts()
    assert "PROXY" not in str(caught.value)


def test_trust_env_is_written_down_and_checked(connect: Any) -> None:
    engine = connect("http://npu:8000", trust_env=False)
    assert engine_from_config(engine.tagged_config()).config()["trust_env"] is False
    with pytest.raises(InvalidInputError, match="trust_env must be True or False"):
        connect("http://npu:8000", trust_env="no")


class PlainHttp(socketserver.BaseRequestHandler):
    """Answers a TLS greeting as uvicorn does: in plain text."""

    def handle(self) -> None:
        self.request.recv(1000)
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")


def test_https_on_a_port_that_speaks_http(connect: Any) -> None:
    with (
        socketserver.TCPServer(("127.0.0.1", 0), PlainHttp) as server,
        in_thread(server.serve_forever, server.shutdown),
    ):
        url = f"https://127.0.0.1:{server.server_address[1]}"
        with pytest.raises(ConnectionFailedError, match="speaks no TLS: write http:// instead"):
            connect(url, max_retries=0).facts()
