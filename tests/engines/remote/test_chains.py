"""What an error brings along: its chain of causes, the frames of its traceback, what is printed."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import httpx
import pytest
from rich.console import Console
from rich.pretty import pretty_repr
from rich.traceback import Traceback

import qwen3_ascend_retrievers
from qwen3_ascend_retrievers import RemoteEngine, Reranker
from qwen3_ascend_retrievers.engines.registry import choose_engine
from qwen3_ascend_retrievers.engines.remote.http.causes import public_error, redacted_cause
from qwen3_ascend_retrievers.engines.remote.http.exchange import CORE_ERRORS, HttpReply, HttpRequest
from qwen3_ascend_retrievers.engines.remote.http.failures import RequestFailure
from qwen3_ascend_retrievers.engines.remote.redaction import Secrets
from qwen3_ascend_retrievers.errors import (
    ConnectionFailedError,
    DeadlineExceededError,
    InvalidInputError,
    ReplyError,
    RerankError,
    StatusError,
)
from qwen3_ascend_retrievers.langchain import Qwen3Rerank
from support.remote_rankings import DOCUMENTS, QUERY
from support.rerank_faults import FINAL, LOST, OVERLOADED, SLOW, WRONG, raw, status
from support.rerank_server import ReceivedRequest

KEY = "sk-topsecret-0123456789"
OTHER = "tenant-secret-abcdef"
PACKAGE = qwen3_ascend_retrievers.__path__[0]
ECHO = json.dumps({"error": f"bad key {KEY} of {OTHER}"})
ECHOES = (
    raw("status line", f"HTTP/1.1 {KEY}\r\n\r\n".encode()),
    raw("header", f"HTTP/1.1 200 OK\r\n{OTHER} {KEY}\r\n\r\n".encode()),
    raw("not UTF-8", b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"\xff\xfe"'),
    raw("encoding", b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nno"),
    *(status(code, ECHO) for code in (200, 400, 401, 503)),
)
FAULTS = (*LOST, *SLOW, *OVERLOADED, *FINAL, *WRONG, *ECHOES)
HOWS = ("sync", "async", "own sync", "own async")


def links(error: BaseException) -> list[BaseException]:
    """The chain as a tool walks it; fails if it does not end."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        assert not any(cause is link for link in chain)
        chain.append(cause)
    return chain


def frames(error: BaseException) -> Iterator[tuple[str, dict[str, Any]]]:
    """The package's frames of all tracebacks of the chain, and their locals."""
    for link in links(error):
        at: TracebackType | None = link.__traceback__
        while at is not None:
            code = at.tb_frame.f_code
            if code.co_filename.startswith(PACKAGE):
                yield f"{code.co_filename}: {code.co_name}", at.tb_frame.f_locals
            at = at.tb_next


def check_locals(error: BaseException) -> int:
    """Assert that no local shows a secret; how many there were."""
    count = 0
    for place, values in frames(error):
        for name, value in values.items():
            text = repr(value) + pretty_repr(value, expand_all=True)
            assert KEY not in text, (place, name)
            assert OTHER not in text, (place, name)
            count += 1
    return count


def printed(error: BaseException) -> str:
    """What rich prints of it, with the locals."""
    console = Console(width=4000, file=None, record=True, quiet=True)
    rendered = Traceback.from_exception(
        type(error), error, error.__traceback__, show_locals=True, locals_max_string=10_000,
        locals_max_length=1000,
    )  # fmt: skip
    with console.capture() as captured:
        console.quiet = False
        console.print(rendered)
    return captured.get()


async def failure(engine: RemoteEngine, how: str) -> BaseException:
    """What a ranking ends in."""
    try:
        if how.endswith("async"):
            await Reranker(engine).arank(QUERY, DOCUMENTS[:2])
        else:
            await asyncio.to_thread(Reranker(engine).rank, QUERY, DOCUMENTS[:2])
    except Exception as error:
        return error
    raise AssertionError("it did not fail")


def settings_of(how: str, clients: list[Any], **settings: Any) -> dict[str, Any]:
    if how == "own sync":
        clients.append(httpx.Client(**settings))
        return {"http_client": clients[-1]}
    if how == "own async":
        clients.append(httpx.AsyncClient(**settings))
        return {"async_http_client": clients[-1]}
    return {}


@pytest.mark.parametrize("how", HOWS)
async def test_every_fault_ends_in_the_librarys_own_error(
    serve: Any, connect: Any, how: str
) -> None:
    clients: list[Any] = []
    server = serve()
    for fault in FAULTS:
        server.decide = lambda request, fault=fault: fault if "rerank" in request.path else None
        engine = connect(
            server.url, api_key=KEY, headers={"X-Tenant": OTHER},
            max_retries=0 if fault in SLOW else 1, timeout=0.2 if fault in SLOW else 30,
            **settings_of(how, clients),
        )  # fmt: skip
        error = await failure(engine, how)
        assert isinstance(error, RerankError), fault.name
        *ours, last = links(error)
        assert len(ours) <= 2, fault.name
        assert all(type(link).__name__ not in ("RequestFailure", "ServerChanged") for link in ours)
        if isinstance(error, ConnectionFailedError | DeadlineExceededError):
            assert isinstance(last, httpx.HTTPError | OSError), fault.name
        assert check_locals(error) > 0
        text = "".join(traceback.format_exception(error))
        if fault in ECHOES and how == "own async":
            text += printed(error)
        assert KEY not in text, fault.name
        assert OTHER not in text, fault.name
    for client in clients:
        await client.aclose() if isinstance(client, httpx.AsyncClient) else client.close()


@pytest.mark.parametrize("how", ["own sync", "own async"])
async def test_no_frame_shows_a_key_when_the_unforeseen_happens(
    serve: Any, connect: Any, how: str
) -> None:
    def sync_hook(response: Any) -> None:
        raise KeyError("the caller's own fault")

    async def async_hook(response: Any) -> None:
        sync_hook(response)

    clients: list[Any] = []
    hook = async_hook if how == "own async" else sync_hook
    settings = settings_of(how, clients, event_hooks={"response": [hook]})
    server = serve(decide=lambda request: status(400, ECHO))
    engine = connect(server.url, api_key=KEY, headers={"X-Tenant": OTHER}, **settings)
    error = await failure(engine, how)
    assert isinstance(error, KeyError)
    places = {place.rpartition("/")[2] for place, _ in frames(error)}
    assert {"retrying.py: _once", "transport.py: send", "transport.py: _send"} <= places
    check_locals(error)
    for client in clients:
        await client.aclose() if isinstance(client, httpx.AsyncClient) else client.close()


WRONG_SETTINGS: list[dict[str, Any]] = [
    {"timeout": 0}, {"api_key": f"{KEY}\n"}, {"headers": {"X-Tenant": f"{OTHER}\n"}},
    {"headers": {"X": 1, "X-Tenant": OTHER}}, {"base_url": "no url"}, {"verify": None},
]  # fmt: skip


def used(adapter: Any) -> None:
    """Adapters choose their engine at first use."""
    adapter.rerank(["a"], QUERY)


@pytest.mark.parametrize("wrong", WRONG_SETTINGS, ids=str)
@pytest.mark.parametrize("make", [RemoteEngine, choose_engine, Qwen3Rerank])
def test_no_frame_shows_a_key_of_a_wrong_setting(
    make: Callable[..., Any], wrong: dict[str, Any]
) -> None:
    settings = {"base_url": "http://h", "api_key": KEY} | wrong
    if make is RemoteEngine:
        settings = {"headers": {"X-Tenant": OTHER}} | settings
    elif not {"base_url", "api_key"} & wrong.keys():
        settings |= {"model": ""}
        for name in wrong:
            del settings[name]
    with pytest.raises(InvalidInputError) as caught:
        used(make(**settings))
    assert check_locals(caught.value) > 0


async def test_the_systems_own_error_stays_reachable(connect: Any) -> None:
    for how in ("sync", "async"):
        error = await failure(connect("http://localhost:9", max_retries=1), how)
        assert [type(link) for link in links(error)] == [
            ConnectionFailedError, httpx.ConnectError, ConnectionRefusedError,
        ]  # fmt: skip
        assert "Errno" in str(links(error)[-1])


async def test_what_the_caller_was_handling_is_no_cause(serve: Any, connect: Any) -> None:
    server = serve(decide=lambda request: LOST[0])
    async with httpx.AsyncClient() as client:
        engine = connect(server.url, async_http_client=client, max_retries=0)
        try:
            raise FileNotFoundError(2, "the caller's own trouble")
        except OSError:
            error = await failure(engine, "async")
    assert isinstance(error.__cause__, httpx.RemoteProtocolError)
    assert error.__cause__.__cause__ is None


async def test_a_deadline_names_the_last_failure(serve: Any, connect: Any) -> None:
    settings = {"backoff": 60, "deadline": 5}
    busy = await failure(connect(serve(decide=lambda request: status(503)).url, **settings), "sync")
    assert [type(link) for link in links(busy)] == [DeadlineExceededError, StatusError]
    lost = await failure(connect("http://127.0.0.1:9", **settings), "sync")
    assert [type(link) for link in links(lost)][:2] == [DeadlineExceededError, httpx.ConnectError]


def test_a_script_prints_few_lines() -> None:
    script = (
        "from qwen3_ascend_retrievers import RemoteEngine, Reranker\n"
        "engine = RemoteEngine('http://localhost:9', max_retries=1, backoff=0.01)\n"
        "Reranker(engine).rank('query', ['a', 'b'])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 1
    lines = ran.stderr.rstrip().split("\n")
    assert len(lines) < 25
    assert ran.stderr.count("The above exception") <= 2
    assert "During handling" not in ran.stderr
    assert "base_url is right" in lines[-1]


class _OddError(Exception):
    """Cannot be made of a text, and says another."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(first, second)

    def __str__(self) -> str:
        return f"{self.args[0]} \x1b {KEY}"


@pytest.mark.parametrize(
    "error",
    [
        httpx.ReadError(f"{KEY} \r\n"), json.JSONDecodeError(f"{KEY} \x1b", KEY, 0),
        UnicodeDecodeError("utf-8", KEY.encode(), 0, 2, f"\x1b {KEY}"), _OddError(1, 2),
        ssl.SSLCertVerificationError(1, f"{KEY} \u202e"), TimeoutError(), OSError(5, KEY, KEY),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_a_stand_in_is_alike_and_clean(error: Exception) -> None:
    copied = redacted_cause(error, Secrets([KEY]))
    assert isinstance(copied, type(error).__mro__[1])
    assert KEY not in repr(copied) + str(copied) + repr(vars(copied))
    assert str(copied).isprintable()
    assert getattr(copied, "errno", None) == getattr(error, "errno", None)


def test_inner_links_do_not_leave() -> None:
    error, foreign = ReplyError("wrong"), ValueError("why")
    error.__cause__ = RequestFailure(error)
    assert links(public_error(error)) == [error]
    error.__cause__ = RequestFailure(error)
    error.__cause__.__cause__ = foreign
    assert links(public_error(error)) == [error, foreign]
    other = StatusError("other")
    error.__cause__ = RequestFailure(other)
    error.__context__ = foreign
    assert links(public_error(error)) == [error, other]
    error.__cause__ = error
    assert links(public_error(error)) == [error]


def test_asked_is_what_the_server_saw(serve: Any, connect: Any) -> None:
    server = serve()
    connect(server.url, api_key=KEY, headers={"x-request-ID": "mine", "X-Tenant": OTHER}).facts()
    seen: ReceivedRequest = server.requests[0]
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert (seen.headers["x-request-id"], seen.headers["x-tenant"]) == ("mine", OTHER)


def test_every_error_of_httpcore_has_one_of_httpx() -> None:
    def kinds(kind: type[Exception]) -> Iterator[type[Exception]]:
        yield kind
        for derived in kind.__subclasses__():
            yield from kinds(derived)

    names = {kind.__name__ for root in CORE_ERRORS for kind in kinds(root)}
    assert {"ConnectError", "ReadTimeout", "RemoteProtocolError", "ProxyError"} <= names
    for name in names:
        assert issubclass(getattr(httpx, name), httpx.HTTPError)


def test_headers_and_bodies_are_in_no_repr() -> None:
    config = vars(RemoteEngine("http://h", api_key=KEY, headers={"X-Tenant": OTHER}))["_config"]
    headers = config.request_headers("r-1")
    request = HttpRequest("http://h", "/v1/rerank", {"documents": DOCUMENTS}, headers)
    reply = HttpReply(400, ECHO.encode(), httpx.Headers({"X-Echo": KEY}), None)
    for value in (headers, request, reply, config, config.secrets()):
        text = repr(value) + pretty_repr(value)
        assert not any(secret in text for secret in (KEY, OTHER, DOCUMENTS[0]))
        # Collectors go through these.
        assert not isinstance(value, Mapping | Sequence)
    assert dict(headers)["Authorization"] == f"Bearer {KEY}"
