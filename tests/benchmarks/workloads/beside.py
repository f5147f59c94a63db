"""A short call alone, and the same while a long one is under way on the same engine.

httpx sends all requests of the long call at once, through a pool of as many connections.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

from benchmarks.contenders import (
    OURS_ASYNC,
    RAW_POOL,
    Indexes,
    best,
    body_of,
    limited_client,
    ours_async,
    posted,
    raw_pool,
    read_scores,
    recorded_bodies_async,
)
from benchmarks.scale import Scale
from benchmarks.server import CannedProcess
from benchmarks.tables import Ratio, Table
from benchmarks.texts import documents, query
from qwen3_ascend_retrievers import RemoteEngine

Call = Callable[[], Awaitable[Indexes]]
# Short calls alone, of which the median counts; beside a long call there are as many as fit.
_ALONE = 10


def measure(scale: Scale) -> dict[str, Any]:
    """By contender and round: the median latency of a short call, alone and beside a long one."""
    with CannedProcess(scale.latency, scale.slots) as server:
        return asyncio.run(_measure(server, scale))


async def _measure(server: CannedProcess, scale: Scale) -> dict[str, Any]:
    question, texts = query(), documents(scale.long_call)
    short_texts = documents(scale.short_call, seed=1)
    with RemoteEngine(server.url) as engine:
        ours_long = ours_async(engine, question, texts).rank
        ours_short = ours_async(engine, question, short_texts).rank
        bodies = await recorded_bodies_async(server, ours_long, texts)
        async with limited_client(scale.slots) as client:

            async def raw_long() -> Indexes:
                replies = await asyncio.gather(
                    *(posted(client, server.url, body) for _, body in bodies)
                )
                offsets = [offset for offset, _ in bodies]
                pairs = zip(offsets, replies, strict=True)
                return best([score for pair in pairs for score in read_scores(*pair)])

            short_body = body_of(question, short_texts, use_activation=False)
            raw_short = raw_pool(client, server.url, short_body).rank
            calls = {OURS_ASYNC: (ours_long, ours_short), RAW_POOL: (raw_long, raw_short)}
            return await _in_turns(calls, scale.rounds)


async def _in_turns(calls: dict[str, tuple[Call, Call]], rounds: int) -> dict[str, Any]:
    rankings = [[await long_call(), await short()] for long_call, short in calls.values()]
    assert all(ranking == rankings[0] for ranking in rankings), "the contenders rank differently"
    latencies: dict[str, Any] = {name: {"alone": [], "beside": []} for name in calls}
    for _ in range(rounds):
        for name, (long_call, short) in calls.items():
            await short()
            latencies[name]["alone"].append(median([await _timed(short) for _ in range(_ALONE)]))
            latencies[name]["beside"].append(median(await _beside(long_call, short)))
    return {
        name: {kind: values[1:] for kind, values in kinds.items()}
        for name, kinds in latencies.items()
    }


async def _beside(long_call: Call, short: Call) -> list[float]:
    under_way = asyncio.ensure_future(long_call())
    # Long enough for its first requests to be sent.
    await asyncio.sleep(0.02)
    latencies = []
    while not under_way.done():
        latencies.append(await _timed(short))
    await under_way
    # The last one was partly alone.
    return latencies[:-1] or latencies


async def _timed(call: Call) -> float:
    begun = time.perf_counter()
    await call()
    return time.perf_counter() - begun


def tables(measured: dict[str, Any]) -> list[Table]:
    """Latencies beside the long call to those alone."""
    rows = [
        [name, str(Ratio.of(latencies["beside"], latencies["alone"]))]
        for name, latencies in measured.items()
    ]
    return [Table(("contender", "latency beside the long call / alone"), rows)]
