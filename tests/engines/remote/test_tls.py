"""TLS with a CA of one's own, directly and through proxies, and cookies of a load balancer."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.engines.remote.http import connections
from qwen3_ascend_retrievers.errors import ConnectionFailedError
from support.remote_rankings import DOCUMENTS, QUERY, check_ranking, documents_of
from support.rerank_server import Fault, RerankServer
from support.tunnels import ConnectHandler, Socks5Handler, tunnel


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(serve: Any, authority: trustme.CA) -> RerankServer:
    """A server with a certificate for localhost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server: RerankServer = serve(tls=context)
    return server


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return str(tmp_path / "ca.pem")


async def test_a_ca_of_ones_own(
    secure: RerankServer, connect: Any, ca_file: str, authority: trustme.CA
) -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    for verify in (ca_file, context, False):
        reranker = Reranker(connect(secure.url, verify=verify))
        check_ranking(await reranker.arank(QUERY, DOCUMENTS))
        check_ranking(await asyncio.to_thread(reranker.rank, QUERY, DOCUMENTS))


def test_the_ca_of_the_environment(
    secure: RerankServer, connect: Any, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    connections._default_context.cache_clear()
    try:
        check_ranking(Reranker(connect(secure.url)).rank(QUERY, DOCUMENTS))
        with pytest.raises(ConnectionFailedError, match="verify="):
            connect(secure.url, trust_env=False).facts()
    finally:
        connections._default_context.cache_clear()


def test_an_unknown_certificate_is_refused_at_once(secure: RerankServer, connect: Any) -> None:
    with pytest.raises(ConnectionFailedError, match="Pass verify=<file of your CA"):
        connect(secure.url, backoff=100).facts()
    assert not secure.requests


def test_a_certificate_of_another_host_is_refused(
    secure: RerankServer, connect: Any, ca_file: str
) -> None:
    url = secure.url.replace("localhost", "127.0.0.1")
    with pytest.raises(ConnectionFailedError, match=r"CERTIFICATE_VERIFY_FAILED.*127\.0\.0\.1"):
        connect(url, verify=ca_file).facts()


def test_tls_through_a_proxy_that_wants_a_password(
    secure: RerankServer, connect: Any, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tunnel(ConnectHandler) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:pass%20word@127.0.0.1:{proxy.port}")
        engine = connect(secure.url, verify=ca_file, api_key="a-secret-key")
        check_ranking(Reranker(engine).rank(QUERY, DOCUMENTS))
        engine.close()
    assert set(proxy.targets) == {f"localhost:{secure.port}"}
    assert set(proxy.credentials) == {"user:pass word"}


@pytest.mark.parametrize("is_secure", [True, False], ids=["tls", "plain"])
def test_a_socks_proxy(
    secure: RerankServer,
    serve: Any,
    connect: Any,
    ca_file: str,
    monkeypatch: pytest.MonkeyPatch,
    is_secure: bool,
) -> None:
    server = secure if is_secure else serve()
    with tunnel(Socks5Handler) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"socks5://127.0.0.1:{proxy.port}")
        engine = connect(server.url, verify=ca_file)
        check_ranking(Reranker(engine).rank(QUERY, DOCUMENTS))
        engine.close()
    assert set(proxy.targets) == {server.url.partition("//")[2]}


@pytest.mark.parametrize("kind", [None, Socks5Handler, ConnectHandler])
def test_a_second_reply_is_not_taken_for_the_next_one(
    serve: Any,
    secure: RerankServer,
    connect: Any,
    ca_file: str,
    monkeypatch: pytest.MonkeyPatch,
    kind: Any,
) -> None:
    server = serve() if kind is None else secure
    with ExitStack() as stack:
        if kind is not None:
            proxy = stack.enter_context(tunnel(kind))
            scheme = "socks5" if kind is Socks5Handler else "http"
            monkeypatch.setenv("ALL_PROXY", f"{scheme}://127.0.0.1:{proxy.port}")
        # One connection, which all requests share.
        engine = stack.enter_context(connect(server.url, verify=ca_file, max_connections=1))
        reranker = Reranker(engine)
        for number in range(8):
            server.repeats = lambda request, number=number: number == 3
            query, documents = f"query {number}", documents_of(number)
            check_ranking(reranker.rank(query, documents), query, documents)


def test_a_balancer_s_cookie_is_sent_back(serve: Any, connect: Any) -> None:
    async def add_cookie(writer: asyncio.StreamWriter, reply: bytes) -> None:
        writer.write(reply.replace(b"\r\n", b"\r\nSet-Cookie: backend=npu-2; Path=/\r\n", 1))
        await writer.drain()

    server = serve(decide=lambda request: Fault("cookie", add_cookie))
    check_ranking(Reranker(connect(server.url)).rank(QUERY, DOCUMENTS))
    first, *others = server.requests
    assert "cookie" not in first.headers
    assert {request.headers["cookie"] for request in others} == {"backend=npu-2"}
