"""Each fault by itself: repeated where that helps, else a typed error; never wrong scores."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from email.utils import formatdate
from typing import Any

import pytest

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.engines.remote.http.failures import RequestFailure
from qwen3_ascend_retrievers.engines.remote.http.retrying import growing_pause, pause_before_retry
from qwen3_ascend_retrievers.engines.remote.protocol.refusals import RefusalKind
from qwen3_ascend_retrievers.errors import (
    AuthenticationError,
    ConnectionFailedError,
    DeadlineExceededError,
    RemoteError,
    ReplyError,
    StatusError,
)
from support.remote_rankings import DOCUMENTS, QUERY, check_ranking
from support.rerank_answers import Setup
from support.rerank_faults import FINAL, LOST, OVERLOADED, SLOW, WRONG, status
from support.rerank_server import Decide, Fault, ReceivedRequest

ROUTES = ("/v1/models", "/tokenize", "/classify", "/v1/rerank")


def first(fault: Fault, path: str = "/v1/rerank", times: int = 1) -> Decide:
    """The fault for the first requests to a path."""
    left = [times]

    def decide(request: ReceivedRequest) -> Fault | None:
        if request.path != path or left[0] == 0:
            return None
        left[0] -= 1
        return fault

    return decide


def names(faults: Sequence[Fault]) -> list[str]:
    return [fault.name for fault in faults]


@pytest.mark.parametrize("fault", LOST + OVERLOADED, ids=names(LOST + OVERLOADED))
async def test_what_may_pass_is_tried_again(serve: Any, connect: Any, fault: Fault) -> None:
    for path in ROUTES:
        engine = connect(serve(decide=first(fault, path, times=2)).url)
        check_ranking(await Reranker(engine).arank(QUERY, DOCUMENTS))


@pytest.mark.parametrize("fault", LOST + OVERLOADED, ids=names(LOST + OVERLOADED))
async def test_what_does_not_pass_is_a_typed_error(serve: Any, connect: Any, fault: Fault) -> None:
    server = serve()
    engine = connect(server.url, max_retries=2)
    check_ranking(await Reranker(engine).arank(QUERY, DOCUMENTS))
    server.decide = lambda request: fault
    asked = len(server.requests)
    expected = StatusError if fault.name.startswith("status") else ConnectionFailedError
    with pytest.raises(expected) as caught:
        await Reranker(engine).arank(QUERY, DOCUMENTS)
    assert len(server.requests) - asked == 3
    assert caught.value.request_id == server.requests[-1].headers["x-request-id"]
    # The server recovers, and so does the engine.
    server.decide = lambda request: None
    check_ranking(await Reranker(engine).arank(QUERY, DOCUMENTS))


@pytest.mark.parametrize("fault", FINAL, ids=names(FINAL))
async def test_a_final_no_is_not_repeated(serve: Any, connect: Any, fault: Fault) -> None:
    server = serve()
    engine = connect(server.url)
    check_ranking(await Reranker(engine).arank(QUERY, DOCUMENTS))
    server.decide = lambda request: fault
    asked = len(server.requests)
    code = int(fault.name.split()[1])
    expected = AuthenticationError if code in (401, 403) else StatusError
    with pytest.raises(expected) as caught:
        await Reranker(engine).arank(QUERY, DOCUMENTS)
    assert caught.value.status == code
    # One more where a single document might be the cause: with another document in its place.
    assert len(server.requests) - asked == (2 if code in (400, 403, 422) else 1)


@pytest.mark.parametrize("route", ["/v1/rerank", "/classify"])
@pytest.mark.parametrize("fault", WRONG, ids=names(WRONG))
async def test_a_wrong_reply_is_never_believed(
    serve: Any, connect: Any, fault: Fault, route: str
) -> None:
    settings = {"tokenizer": "tiny"} if route == "/classify" else {}
    server = serve()
    engine = connect(server.url, **settings)
    check_ranking(await Reranker(engine).arank(QUERY, DOCUMENTS))
    server.decide = first(fault, route)
    with pytest.raises(ReplyError) as caught:
        await Reranker(engine).arank(QUERY, DOCUMENTS)
    assert caught.value.request_id == server.requests[-1].headers["x-request-id"]
    check_ranking(await Reranker(engine).arank(QUERY, DOCUMENTS))


@pytest.mark.parametrize("fault", WRONG, ids=names(WRONG))
@pytest.mark.parametrize("path", ROUTES)
async def test_a_wrong_reply_in_the_handshake(
    serve: Any, connect: Any, fault: Fault, path: str
) -> None:
    reranker = Reranker(connect(serve(decide=first(fault, path)).url))
    try:
        ranking = await reranker.arank(QUERY, DOCUMENTS)
    except RemoteError:
        ranking = await reranker.arank(QUERY, DOCUMENTS)
    check_ranking(ranking)


@pytest.mark.parametrize("fault", SLOW, ids=names(SLOW))
async def test_a_slow_reply_is_given_up(serve: Any, connect: Any, fault: Fault) -> None:
    server = serve()
    engine = connect(server.url, timeout=0.3, max_retries=1)
    check_ranking(await Reranker(connect(server.url)).arank(QUERY, DOCUMENTS))
    server.decide = first(fault, "/v1/models", times=9)
    with pytest.raises(DeadlineExceededError, match="within 0"):
        await Reranker(engine).arank(QUERY, DOCUMENTS)
    assert server.paths()[-2:] == ["/v1/models"] * 2


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("fault", SLOW, ids=names(SLOW))
async def test_the_deadline_is_for_all_attempts(
    serve: Any, connect: Any, fault: Fault, how: str
) -> None:
    server = serve(decide=lambda request: fault)
    engine = connect(server.url, timeout=30, deadline=1.0, max_retries=99)
    with pytest.raises(DeadlineExceededError, match="deadline of 1 s"):
        await (asyncio.to_thread(engine.facts) if how == "sync" else engine.afacts())


@pytest.mark.parametrize(
    "fault", [status(429), status(503), status(500, Retry_After="0")], ids=["429", "503", "told"]
)
@pytest.mark.parametrize("path", ["/v1/models", "/v1/rerank"])
async def test_who_says_later_is_asked_until_the_deadline(
    serve: Any, connect: Any, fault: Fault, path: str
) -> None:
    server = serve(decide=first(fault, path, times=6))
    check_ranking(await Reranker(connect(server.url)).arank(QUERY, DOCUMENTS))
    engine = connect(serve(decide=lambda request: fault).url, max_retries=0)
    with pytest.raises(StatusError):
        await Reranker(engine).arank(QUERY, DOCUMENTS)


@pytest.mark.parametrize("code", [408, 425, 500, 502, 504])
async def test_who_does_not_say_later_is_asked_four_times(
    serve: Any, connect: Any, code: int
) -> None:
    server = serve(decide=lambda request: status(code))
    with pytest.raises(StatusError, match=str(code)):
        await Reranker(connect(server.url)).arank(QUERY, DOCUMENTS)
    assert len(server.requests) == 4


async def test_retries_of_one_kind_are_not_counted_for_the_other(serve: Any, connect: Any) -> None:
    turns = [status(429)] * 5 + [LOST[0], status(429), LOST[0]]
    server = serve()
    reranker = Reranker(connect(server.url))
    check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    server.decide = lambda request: turns.pop(0) if turns else None
    check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    assert not turns


async def test_when_all_replicas_say_later_one_is_waited_for(serve: Any, connect: Any) -> None:
    bad, good = serve(decide=lambda request: status(429)), serve()
    good.decide = first(status(429), "/v1/models", times=6)
    check_ranking(await Reranker(connect([bad.url, good.url])).arank(QUERY, DOCUMENTS))
    assert len(bad.requests) == 1


@pytest.mark.parametrize("backoff", [0.25, 1000.0])
def test_pauses_stay_short_enough_for_a_limit_per_minute(backoff: float) -> None:
    pauses = [growing_pause(backoff, attempts) for attempts in range(1, 40)]
    assert 8 <= pauses[-1] <= max(pauses) <= 16


def pause_of(kind: RefusalKind, attempts: int = 1, failures: int = 0, **changes: Any) -> Any:
    """The pause after a failure that asks for 2 s."""
    limits = {"splittable": False, "max_retries": None, "backoff": 0.1, "remaining": 60} | changes
    failure = RequestFailure(StatusError("no"), kind, 2.0)
    return pause_before_retry(failure, attempts, failures, **limits)


def test_which_failures_are_retried_and_how_often() -> None:
    assert pause_of("later", 99) == pause_of("busy", 99) == pause_of("retry", 99, 3) == 2
    assert pause_of("retry", 4, 4) is None
    assert pause_of("busy", splittable=True) is None
    for kind in ("final", "too_long", "unknown_model", "document"):
        assert pause_of(kind) is None
    assert pause_of("later", 2, max_retries=2) == pause_of("retry", 9, 2, max_retries=2) == 2
    assert pause_of("later", 3, max_retries=2) is None
    assert pause_of("retry", 9, 3, max_retries=2) is None
    assert pause_of("later", remaining=2) == math.inf
    # No deadline is named where another server can be asked, or nothing is to be retried.
    assert pause_of("later", max_retries=0, remaining=2) is None


async def test_no_pause_exceeds_the_deadline(serve: Any, connect: Any) -> None:
    server = serve(decide=lambda request: status(503))
    engine = connect(server.url, backoff=1000, max_retries=99)
    with pytest.raises(DeadlineExceededError, match="answered 503") as caught:
        await Reranker(connect(server.url, deadline=5, backoff=60)).arank(QUERY, DOCUMENTS)
    assert caught.value.status == 503
    assert len(server.requests) == 1
    engine.close()


def soon(how: str) -> str:
    return "1" if how == "seconds" else formatdate(time.time() + 2, usegmt=True)


@pytest.mark.parametrize("how", ["seconds", "date"])
async def test_retry_after_is_kept_to(serve: Any, connect: Any, how: str) -> None:
    times: list[float] = []

    def decide(request: ReceivedRequest) -> Fault | None:
        if request.path != "/v1/models":
            return None
        times.append(time.monotonic())
        return status(429, Retry_After=soon(how)) if len(times) == 1 else None

    check_ranking(await Reranker(connect(serve(decide=decide).url)).arank(QUERY, DOCUMENTS))
    # A date has whole seconds, so that nearly one of the two may be gone already.
    assert times[1] - times[0] >= 0.9


@pytest.mark.parametrize(
    "value", ["3600", formatdate(time.time() + 3600, usegmt=True)], ids=["seconds", "date"]
)
async def test_a_long_retry_after_is_no_reason_to_wait(
    serve: Any, connect: Any, value: str
) -> None:
    server = serve(decide=lambda request: status(429, Retry_After=value))
    with pytest.raises(DeadlineExceededError, match="answered 429"):
        await Reranker(connect(server.url)).arank(QUERY, DOCUMENTS)
    assert len(server.requests) == 1


@pytest.mark.parametrize("value", ["soon", "-3", "1e3", "Wed, 99 Foo 2020 00:00:00 GMT", ""])
async def test_a_strange_retry_after_is_ignored(serve: Any, connect: Any, value: str) -> None:
    server = serve(decide=first(status(429, Retry_After=value)))
    check_ranking(await Reranker(connect(server.url)).arank(QUERY, DOCUMENTS))


async def test_nobody_at_home(connect: Any) -> None:
    engine = connect("http://127.0.0.1:9", max_retries=1)
    with pytest.raises(ConnectionFailedError, match="base_url is right"):
        await Reranker(engine).arank(QUERY, DOCUMENTS)


async def test_a_name_that_leads_nowhere(connect: Any) -> None:
    engine = connect("http://no-such-host.invalid", max_retries=0)
    with pytest.raises(ConnectionFailedError):
        await Reranker(engine).arank(QUERY, DOCUMENTS)


async def test_a_redirect_is_named(serve: Any, connect: Any) -> None:
    server = serve(decide=lambda request: status(307, Location="http://elsewhere"))
    with pytest.raises(StatusError, match="final address"):
        await Reranker(connect(server.url)).arank(QUERY, DOCUMENTS)


async def test_keep_order_survives_a_dead_server(serve: Any, connect: Any) -> None:
    server = serve(decide=lambda request: status(500))
    engine = connect(server.url, max_retries=0)
    ranking = await Reranker(engine, on_error="keep_order").arank(QUERY, DOCUMENTS)
    assert ranking.status == "kept_order"
    assert isinstance(ranking.error, StatusError)
    # A kept result keeps neither the call's texts nor the engine alive.
    assert ranking.error.__traceback__ is None


@pytest.mark.parametrize("setup", [Setup(max_documents=3), Setup(max_bytes=1200)])
async def test_what_is_too_much_at_once_is_split(serve: Any, connect: Any, setup: Setup) -> None:
    server = serve(setup)
    engine = connect(server.url, template="client")
    many = [f"document {at}" for at in range(21)]
    server.answers.setup = Setup()
    check_ranking(await Reranker(engine).arank(QUERY, DOCUMENTS))
    server.answers.setup = setup
    check_ranking(await Reranker(engine).arank(QUERY, many), documents=many)


async def test_a_busy_server_with_one_document_is_asked_again(serve: Any, connect: Any) -> None:
    busy = status(503, {"error": {"message": "The engine is currently busy"}})
    server = serve()
    reranker = Reranker(connect(server.url))
    check_ranking(await reranker.arank(QUERY, DOCUMENTS))
    server.decide = first(busy, times=2)
    check_ranking(await reranker.arank(QUERY, DOCUMENTS[:1]), documents=DOCUMENTS[:1])
