"""The key and the caller's headers are sent, and shown nowhere: copies, errors, logs, traces."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import ssl
import traceback
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import SecretStr

from qwen3_ascend_retrievers import RemoteEngine, Reranker
from qwen3_ascend_retrievers.engines.configured import engine_to_config
from qwen3_ascend_retrievers.engines.registry import engine_from_config
from qwen3_ascend_retrievers.errors import InvalidInputError, RerankError
from support.remote_rankings import DOCUMENTS, QUERY, check_ranking
from support.rerank_answers import Setup
from support.rerank_faults import OVERLOADED, status
from support.rerank_server import Fault, ReceivedRequest, http

KEY = "sk-topsecret-0123456789"
OTHER = "tenant-secret-abcdef"


def echoing(request: ReceivedRequest) -> Fault | None:
    """A server that quotes the request's headers in every error, at the beginning."""
    told = json.dumps(dict(request.headers))
    return status(500, f"{told} {KEY[:-1]} and {KEY}")


async def everything_said(engine: RemoteEngine, caplog: pytest.LogCaptureFixture) -> str:
    caplog.set_level(logging.DEBUG)
    texts = [repr(engine), str(engine), json.dumps(engine.tagged_config()), repr(vars(engine))]
    texts.append(repr(vars(vars(engine)["_config"])))
    texts.append(pickle.dumps(engine).decode("latin-1"))
    try:
        await Reranker(engine).arank(QUERY, DOCUMENTS)
    except RerankError as error:
        texts += [repr(error), *traceback.format_exception(error)]
    texts += [record.getMessage() for record in caplog.records]
    return "\n".join(texts)


async def test_the_key_is_shown_nowhere(
    serve: Any, connect: Any, caplog: pytest.LogCaptureFixture, spans: InMemorySpanExporter
) -> None:
    for decide in (echoing, lambda request: status(401, f"bad key {KEY}"), lambda request: None):
        server = serve(Setup(api_key=KEY), decide)
        engine = connect(server.url, api_key=KEY, headers={"X-Tenant": OTHER}, max_retries=1)
        texts = await everything_said(engine, caplog)
        assert KEY not in texts
        assert OTHER not in texts
        # It was sent all the same.
        assert server.requests[-1].headers["authorization"] == f"Bearer {KEY}"
        assert server.requests[-1].headers["x-tenant"] == OTHER
    exported = "\n".join(span.to_json() for span in spans.get_finished_spans())
    assert "/v1/models" in exported
    assert KEY not in exported
    assert OTHER not in exported


async def test_a_key_that_stands_where_the_quote_ends(serve: Any, connect: Any) -> None:
    for blank in range(176, 201, 4):
        server = serve(decide=lambda request, blank=blank: status(400, "x" * blank + KEY))
        with pytest.raises(RerankError) as caught:
            await connect(server.url, api_key=KEY).afacts()
        assert KEY[:6] not in "".join(traceback.format_exception(caught.value))
        server.decide = lambda request: None
        bad = json.dumps({"error": "y" * blank + KEY}).encode()
        server = serve(decide=lambda request, bad=bad: Fault("bad", _writes(bad)))
        with pytest.raises(RerankError) as caught:
            await connect(server.url, api_key=KEY).afacts()
        assert KEY[:6] not in "".join(traceback.format_exception(caught.value))


def _writes(body: bytes) -> Any:
    async def act(writer: Any, reply: bytes) -> None:
        writer.write(http(200, body, {"Connection": "close"}))
        await writer.drain()

    return act


async def test_the_key_comes_from_the_environment(
    serve: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QWEN3_RERANK_API_KEY", KEY)
    server = serve(Setup(api_key=KEY))
    check_ranking(await Reranker(connect(server.url)).arank(QUERY, DOCUMENTS))
    engine = connect(server.url, api_key=SecretStr("sk-other"))
    with pytest.raises(RerankError, match="401"):
        await Reranker(engine).arank(QUERY, DOCUMENTS)
    # A copy has left the other key behind and reads the environment again.
    for copied in (
        pickle.loads(pickle.dumps(engine)),
        copy.deepcopy(engine),
        engine_from_config(json.loads(json.dumps(engine_to_config(engine)))),
    ):
        with copied:
            check_ranking(await Reranker(copied).arank(QUERY, DOCUMENTS))


def test_settings_survive_being_written_down() -> None:
    settings: dict[str, Any] = {
        "base_url": ["http://one:8000", "https://two/prefix"], "model": "m", "template": "client",
        "protocol": "rerank", "timeout": 1.5, "deadline": 9.0, "max_retries": 1,
        "max_connections": 2, "batch_size": 3, "verify": False, "tokenizer": "tiny",
        "tokenizer_revision": None, "backoff": 0.5, "cooldown": 7.0, "trust_env": False,
        "dialect": "tei", "scores": "logit", "balance": "least_busy",
    }  # fmt: skip
    engine = RemoteEngine(**settings)
    assert engine.config() == settings
    assert engine_from_config(engine.tagged_config()).config() == settings


def test_what_cannot_be_written_down_says_so() -> None:
    with httpx.Client() as client:
        for engine in (
            RemoteEngine("http://h", http_client=client),
            RemoteEngine("http://h", verify=ssl.create_default_context()),
        ):
            assert "http://h" in repr(engine)
            with pytest.raises(InvalidInputError, match="cannot be written down"):
                pickle.dumps(engine)


WRONG_SETTINGS: list[dict[str, Any]] = [
    {"base_url": ""}, {"base_url": "npu-host:8000"}, {"base_url": "ftp://h"}, {"base_url": []},
    {"base_url": None}, {"base_url": [None]}, {"base_url": "http://h?key=1"},
    {"base_url": "http://user:password@h"}, {"base_url": "http://h:port"},
    {"base_url": "user:password@h:8000"}, {"base_url": "http://h/?key=password"},
    {"base_url": "http://user:password#@h"}, {"base_url": {"http://user:password@h"}},
    {"base_url": "http://h:80800/v1"}, {"base_url": "http://h:-1"}, {"base_url": "http://h:0"},
    {"base_url": "http://h/\ud800"}, {"timeout": 10**400}, {"cooldown": 10**400},
    {"model": ""}, {"model": 3}, {"api_key": 3}, {"api_key": "a\nb"}, {"api_key": "ключ"},
    {"template": "both"}, {"protocol": "grpc"}, {"timeout": 0}, {"timeout": True},
    {"deadline": -1}, {"deadline": float("inf")}, {"max_retries": -1}, {"max_retries": 1.5},
    {"max_connections": 0}, {"batch_size": 0}, {"headers": "X: y"}, {"headers": {"X": 1}},
    {"headers": {"X": "a\r\nEvil: b"}}, {"headers": {"X": " padded"}}, {"headers": {"X Y": "z"}},
    {"verify": None}, {"tokenizer": ""}, {"backoff": -1}, {"balance": None},
    {"cooldown": "1"}, {"http_client": object()}, {"async_http_client": httpx.Client},
]  # fmt: skip


@pytest.mark.parametrize("settings", WRONG_SETTINGS, ids=lambda settings: next(iter(settings)))
def test_a_wrong_setting_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        RemoteEngine(**{"base_url": "http://h", **settings})
    message = "".join(traceback.format_exception_only(caught.value))
    assert "password" not in message.replace("user or password", "")
    assert caught.value.__cause__ is None


async def test_one_span_for_each_attempt(
    serve: Any, connect: Any, spans: InMemorySpanExporter
) -> None:
    server = serve()
    reranker = Reranker(connect(server.url))
    check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    left = [1]
    server.decide = lambda request: OVERLOADED[0] if left and left.pop() else None
    spans.clear()
    with trace.get_tracer("test").start_as_current_span("caller") as caller:
        check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    failed, passed = (span for span in spans.get_finished_spans() if span.name != "caller")
    assert failed.name == passed.name == "POST /v1/rerank"
    assert passed.attributes is not None
    assert passed.attributes["server.address"] == "127.0.0.1"
    assert passed.attributes["server.port"] == server.port
    assert passed.attributes["rerank.documents"] == len(DOCUMENTS)
    assert passed.attributes["rerank.template"] == "client"
    assert passed.attributes["rerank.attempt"] == 2
    assert passed.attributes["http.response.status_code"] == 200
    assert passed.attributes["rerank.tokens"] > 0
    assert passed.attributes["rerank.request_id"] == server.requests[-1].headers["x-request-id"]
    assert passed.parent is not None
    assert passed.parent.span_id == caller.get_span_context().span_id
    assert failed.status.status_code is trace.StatusCode.ERROR
    exported = failed.to_json() + passed.to_json()
    assert QUERY not in exported
    assert DOCUMENTS[0] not in exported
