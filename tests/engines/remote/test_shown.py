"""A server's words: one short printable line in errors and names, and nothing in logs and spans."""

from __future__ import annotations

import json
import logging
import traceback
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.errors import EngineError, InvalidInputError, RerankError, printable
from support.remote_rankings import DOCUMENTS, QUERY
from support.rerank_answers import Setup
from support.rerank_faults import raw, status
from support.rerank_server import Fault, http

# A window's title, a cleared screen, line ends, a turned line, nothing to see, Unicode's own ends.
EVIL = "\x1b]0;title\x07\r\n\x1b[2J\u202e\u200b\x00\x85\u2028\u2066\ufeff\U000e0041"
LONG = EVIL * 20_000
SURROGATE = '{"error": {"message": "\\ud800 \\u001b[2J"}}'
SAID: dict[str, Fault] = {
    "status 400": status(400, EVIL),
    "status 503": status(503, {"error": {"message": LONG}}),
    "a list as detail": status(422, {"detail": [{"msg": EVIL}]}),
    "a surrogate": status(400, SURROGATE),
    "no JSON": status(200, LONG),
    "an error under 200": status(200, {"error": {"message": LONG}}),
    "a deep error under 200": status(200, '{"detail": ' + "[" * 900 + "]" * 900 + "}"),
    "a model": status(200, {"model": LONG, "results": [{"index": 0, "relevance_score": 0.1}]}),
    "an index": status(200, {"results": [{"index": EVIL, "relevance_score": 0.1}]}),
    "a score": status(200, {"results": [{"index": 0, "relevance_score": LONG}]}),
    "a long number": status(200, '{"results": [{"index": 1' + "0" * 4000 + "}]}"),
    "a header": raw("header", b"HTTP/1.1 200 OK\r\n\x1b[2J \x07\r\n\r\n"),
    "a status line": raw("status", b"HTTP/1.1 \x1b[2J\x9b\r\n\r\n"),
    "a reason": raw("reason", b"HTTP/1.1 500 \xe2\x80\xae\r\nContent-Length: 0\r\n\r\n"),
    "an encoding": raw("zip", http(200, b"\x1b[2J", {"Content-Encoding": "gzip"})),
}


async def failed(reranker: Reranker) -> RerankError:
    with pytest.raises(RerankError) as caught:
        await reranker.arank(QUERY, DOCUMENTS[:1])
    return caught.value


@pytest.mark.parametrize("name", SAID)
async def test_an_error_is_one_printable_line(serve: Any, connect: Any, name: str) -> None:
    server = serve()
    engine = connect(server.url, max_retries=0)
    engine.facts()
    server.decide = lambda request: SAID[name]
    error = await failed(Reranker(engine))
    assert isinstance(error, EngineError)
    text = "".join(traceback.format_exception(error))
    assert len(str(error)) < 1000
    assert str(error).isprintable()
    assert text.replace("\n", "").isprintable()


@pytest.mark.parametrize("name", [f"m{EVIL}", "m" + LONG])
async def test_a_model_s_name_is_one_printable_line(serve: Any, connect: Any, name: str) -> None:
    server = serve(Setup(model=name))
    engine = connect(server.url)
    facts = engine.facts()
    assert facts.model.isprintable()
    assert len(facts.model) <= 400
    ranking = await Reranker(engine).arank(QUERY, DOCUMENTS[:2])
    assert ranking.model == facts.model
    answered = server.answers.rerank
    server.answers.rerank = lambda body: answered(body) | {"model": "other" + EVIL}
    # A new name alone is no fault.
    server.setup.scorer = lambda ids: 1.0
    assert str(await failed(Reranker(engine))).isprintable()
    listed = server.answers.models
    two = [{"id": "one" + EVIL}, {"id": "two" + LONG}]
    server.answers.models = lambda body: listed(body) | {"data": two}
    with pytest.raises(InvalidInputError) as caught:
        connect(server.url).facts()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


def test_any_error_of_this_package_steers_no_terminal() -> None:
    error = InvalidInputError(f"file {EVIL} is no good.\nSee the manual.")
    assert str(error).replace("\n", "").isprintable()
    assert str(error).endswith(" is no good.\nSee the manual.")
    assert str(type(error)(str(error))) == str(error)


def test_printable_keeps_what_can_be_read() -> None:
    assert printable("北京 🇨🇳 بكين é\u3000x") == "北京 🇨🇳 بكين é x"
    assert printable("a\tb\\n\ud800") == "a\\tb\\n\\ud800"
    assert printable("abcdef", 4) == "abc…"
    assert printable("abcd", 4) == "abcd"
    assert printable("\x1b" * 9, 6) == "\\x1b\\…"


SECRET = "the merger will be on Friday"
KEY = "sk-topsecret-0123456789"


def quoting(name: str) -> Fault:
    """A server that quotes the caller's document."""
    body = {"error": {"message": f"cannot score {SECRET!r} for {QUERY}"}}
    line = f"HTTP/1.1 {SECRET} {KEY}\r\n\r\n".encode()
    return {
        "status 400": status(400, body),
        "status 503": status(503, body),
        "status 401": status(401, body),
        "200": status(200, body),
        "no JSON": status(200, SECRET),
        "a status line": raw("status", line),
        "a header": raw("header", b"HTTP/1.1 200 OK\r\n" + line),
    }[name]


@pytest.mark.parametrize("on_error", ["raise", "keep_order"])
@pytest.mark.parametrize(
    "name",
    ["status 400", "status 503", "status 401", "200", "no JSON", "a status line", "a header"],
)  # fmt: skip
async def test_logs_and_spans_quote_nobody(
    serve: Any, connect: Any, caplog: pytest.LogCaptureFixture, spans: InMemorySpanExporter,
    name: str, on_error: Any,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG, logger="qwen3_ascend_retrievers")
    server = serve(Setup(model=SECRET))
    engine = connect(server.url, api_key=KEY, max_retries=1)
    engine.facts()
    server.decide = lambda request: quoting(name)
    spans.clear()
    reranker = Reranker(engine, on_error=on_error)
    if on_error == "raise":
        error = await failed(reranker)
    else:
        ranking = await reranker.arank(QUERY, [SECRET])
        assert ranking.error is not None
        error = ranking.error
    ours = [log.getMessage() for log in caplog.records if log.name.startswith("qwen3_ascend")]
    texts = "\n".join([*ours, *(span.to_json() for span in spans.get_finished_spans())])
    for foreign in (SECRET, QUERY, KEY, "cannot score"):
        assert foreign not in texts
    if on_error == "keep_order":
        assert f"the input order is kept: {type(error).__name__}, " in ours[-1]
    # After a 400 another document is asked about, to learn whether this one is the cause.
    (last,) = (
        finished
        for finished in spans.get_finished_spans()
        if finished.attributes and finished.attributes["rerank.request_id"] == error.request_id  # type: ignore[attr-defined]
    )
    assert last.events == ()
    assert last.status.description is None
    assert last.attributes is not None
    assert last.attributes["error.type"] == type(error).__name__


async def test_a_retry_is_logged_by_its_type(
    serve: Any, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="qwen3_ascend_retrievers")
    server = serve(decide=lambda request: status(503, {"error": SECRET}))
    await failed(Reranker(connect(server.url, max_retries=1)))
    (line,) = (log.getMessage() for log in caplog.records if "Asking again" in log.getMessage())
    assert "StatusError, status 503, request_id " in line
    engine = connect("http://127.0.0.1:9", max_retries=1)
    await failed(Reranker(engine))
    assert "ConnectionFailedError, caused by ConnectError" in caplog.text
    assert json.dumps(SECRET) not in caplog.text
