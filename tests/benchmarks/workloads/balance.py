"""Two equal servers: how much more they take than one, and what it costs that one of them hangs.

Many async calls of several queries at once, from one engine.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from statistics import median
from typing import Any

from benchmarks.contenders import (
    Indexes,
    best,
    body_of,
    indexes_of,
    limited_client,
    posted,
    read_scores,
)
from benchmarks.scale import TOP_N, Scale
from benchmarks.server import CannedProcess
from benchmarks.tables import NONE, Ratio, Table, code, figures
from benchmarks.texts import documents, query
from benchmarks.turns import in_turns, reason_of
from qwen3_ascend_retrievers import RemoteEngine, Reranker
from qwen3_ascend_retrievers.engines.remote.http.transport import Transport
from qwen3_ascend_retrievers.errors import DeadlineExceededError

ONE_SERVER = "`Reranker.arank`, one server"
TWO_SERVERS = "`Reranker.arank`, two servers"
NAMES = (ONE_SERVER, TWO_SERVERS)
QUERIES = [query(number) for number in range(16)]
_TIMEOUT = 1.0

Rank = Callable[[str], Awaitable[Indexes]]
_call_number: ContextVar[int] = ContextVar("_call_number")


def measure(scale: Scale) -> dict[str, Any]:
    """Seconds of all calls, round by round; and how they ended while one server hung."""
    first = CannedProcess(scale.latency, scale.server_slots)
    second = CannedProcess(scale.latency, scale.server_slots)
    with first, second:
        return asyncio.run(_measure([first, second], scale))


async def _measure(servers: list[CannedProcess], scale: Scale) -> dict[str, Any]:
    texts, urls = documents(scale.documents), [server.url for server in servers]
    expected = await _expected(urls, texts)
    with RemoteEngine(urls[0]) as one, RemoteEngine(urls, balance="least_busy") as both:
        ranks = {ONE_SERVER: _ours(one, texts), TWO_SERVERS: _ours(both, texts)}
        seconds: dict[str, list[float]] = {name: [] for name in NAMES}
        for name in in_turns(NAMES, scale.rounds):
            took, ends, _ = await _all_at_once(ranks[name], expected, scale.balanced_calls)
            assert set(ends) == {"right"}, f"{name}: {dict(ends)}"
            seconds[name].append(took)
    hung = [await _while_hung(servers, texts, expected, scale) for _ in range(scale.hung_rounds)]
    kept = {name: values[1:] for name, values in seconds.items()}
    return {"calls": scale.balanced_calls, "seconds": kept, "hung": hung}


async def _expected(urls: list[str], texts: list[str]) -> dict[str, Indexes]:
    """The order for each query, which both servers have ready from now on."""
    orders = {}
    async with limited_client(1) as client:
        for question in QUERIES:
            body = body_of(question, texts, use_activation=False)
            first, second = [best(read_scores(0, await posted(client, url, body))) for url in urls]
            assert first == second, "the servers rank differently"
            orders[question] = first
    return orders


def _ours(engine: RemoteEngine, texts: list[str]) -> Rank:
    reranker = Reranker(engine, top_n=TOP_N)

    async def rank(question: str) -> Indexes:
        return indexes_of(await reranker.arank(question, texts))

    return rank


async def _all_at_once(
    rank: Rank, expected: dict[str, Indexes], calls: int
) -> tuple[float, Counter[str], float]:
    """Seconds of all calls, how many ended how, and the seconds of the slowest."""
    ends: Counter[str] = Counter()
    slowest = 0.0

    async def end(number: int) -> None:
        nonlocal slowest
        _call_number.set(number)
        question = QUERIES[number % len(QUERIES)]
        try:
            ends["right" if await rank(question) == expected[question] else "wrong"] += 1
        except Exception as error:
            ends[reason_of(error)] += 1
        slowest = max(slowest, time.perf_counter() - begun)

    begun = time.perf_counter()
    # A task each, so that each has its own number, which the engine's requests inherit.
    await asyncio.gather(*(end(number) for number in range(calls)))
    return time.perf_counter() - begun, ends, slowest


async def _while_hung(
    servers: list[CannedProcess], texts: list[str], expected: dict[str, Indexes], scale: Scale
) -> dict[str, Any]:
    """How calls end once the second server hangs after its use, and the timeouts that they met."""
    urls = [server.url for server in servers]
    with RemoteEngine(urls, balance="least_busy", timeout=_TIMEOUT) as engine:
        rank = _ours(engine, texts)
        _, before, _ = await _all_at_once(rank, expected, scale.balanced_calls)
        servers[1].hang()
        try:
            with _counted_timeouts() as timeouts:
                _, ends, slowest = await _all_at_once(rank, expected, scale.balanced_calls)
        finally:
            servers[1].resume()
    return {
        "ends": dict(ends),
        "ends_before": dict(before),
        "most_timeouts": max(timeouts.values(), default=0),
        "calls_with_timeout": len(timeouts),
        "slowest_in_timeouts": slowest / _TIMEOUT,
    }


@contextmanager
def _counted_timeouts() -> Iterator[Counter[int]]:
    """By call, how many of its own requests took the whole timeout without a reply."""
    timeouts: Counter[int] = Counter()
    send = Transport._send_now

    async def counting(self: Transport, request: Any, seconds: float) -> Any:
        try:
            return await send(self, request, seconds)
        except DeadlineExceededError:
            timeouts[_call_number.get()] += 1
            raise

    setattr(Transport, "_send_now", counting)  # noqa: B010 - mypy takes no method as a value
    try:
        yield timeouts
    finally:
        setattr(Transport, "_send_now", send)  # noqa: B010 - the same


def tables(measured: dict[str, Any]) -> list[Table]:
    """Throughput beside one server's, and what became of the calls while one hung."""
    seconds, calls = measured["seconds"], measured["calls"]
    throughput = [
        [name, "1" if name == ONE_SERVER else str(Ratio.of(seconds[ONE_SERVER], values))]
        for name, values in seconds.items()
    ]
    hung = measured["hung"]
    right = min(round_["ends"].get("right", 0) for round_ in hung)
    failures = sorted({end for round_ in hung for end in round_["ends"]} - {"right"})
    outcomes = [
        ["calls that ended with the right order", f"{right:,} / {calls:,}"],
        ["calls that failed", " ".join(map(code, failures)) or NONE],
        ["calls that met a timeout", f"{max(round_['calls_with_timeout'] for round_ in hung):,}"],
        ["timeouts that a call met, at most", str(max(round_["most_timeouts"] for round_ in hung))],
        [
            "the slowest call, in timeouts",
            figures(median(round_["slowest_in_timeouts"] for round_ in hung)),
        ],
    ]
    return [
        Table(("contender", "throughput / one server's"), throughput),
        Table(("while one of two servers hangs", f"{len(hung)} x {calls:,}"), outcomes),
    ]
