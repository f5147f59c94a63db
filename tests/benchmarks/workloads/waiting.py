"""Very many async calls at once: all end well, and what one that waits takes of memory.

Each contender runs in fresh processes, whose memory grows by nothing else. The calls share their
documents, and drop their results, so that what grows is what a call holds while it waits. httpx has
clients of one connection each: with its own pool this would take minutes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from statistics import median
from typing import Any

import psutil

from benchmarks.contenders import (
    OURS_ASYNC,
    RAW_CLIENTS,
    Indexes,
    body_of,
    ours_async,
    raw_clients,
    single_clients,
)
from benchmarks.scale import Scale
from benchmarks.server import CannedProcess
from benchmarks.tables import Table, code
from benchmarks.texts import documents, query
from benchmarks.turns import in_turns, reason_of
from qwen3_ascend_retrievers import RemoteEngine

NAMES = (OURS_ASYNC, RAW_CLIENTS)
_SAMPLING_SECONDS = 0.02


def measure(scale: Scale) -> dict[str, Any]:
    """By contender: bytes of a waiting call in each process, and how its calls ended."""
    runs: dict[str, list[Any]] = {name: [] for name in NAMES}
    with CannedProcess(scale.latency) as server:
        for name in in_turns(NAMES, scale.waiting_rounds):
            context = get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                runs[name].append(pool.submit(_in_process, name, server.url, scale).result())
    return {"calls": scale.waiting_calls, "runs": runs}


def _in_process(name: str, url: str, scale: Scale) -> dict[str, Any]:
    contend = _with_ours if name == OURS_ASYNC else _with_httpx
    return asyncio.run(contend(url, scale))


async def _with_ours(url: str, scale: Scale) -> dict[str, Any]:
    with RemoteEngine(url) as engine:
        rank = ours_async(engine, query(), documents(scale.documents)).rank
        return await _all_at_once(rank, scale)


async def _with_httpx(url: str, scale: Scale) -> dict[str, Any]:
    async with single_clients(scale.slots) as clients:
        body = body_of(query(), documents(scale.documents), use_activation=False)
        return await _all_at_once(raw_clients(clients, url, body).rank, scale)


async def _all_at_once(rank: Callable[[], Awaitable[Indexes]], scale: Scale) -> dict[str, Any]:
    """Bytes that the process grew by for each call, and how many calls ended how."""
    expected = await rank()
    ends: Counter[str] = Counter()

    async def end() -> None:
        try:
            ends["right" if await rank() == expected else "wrong"] += 1
        except Exception as error:
            ends[reason_of(error)] += 1

    await asyncio.gather(*(end() for _ in range(scale.slots)))
    ends.clear()
    before = memory()
    under_way = asyncio.gather(*(end() for _ in range(scale.waiting_calls)))
    peak = before
    while not under_way.done():
        await asyncio.sleep(_SAMPLING_SECONDS)
        peak = max(peak, memory())
    return {"bytes": (peak - before) / scale.waiting_calls, "ends": dict(ends)}


def memory() -> int:
    """Bytes that this process has in memory. The system's own peak counts its parent's, too."""
    size: int = psutil.Process().memory_info().rss
    return size


def tables(measured: dict[str, Any]) -> list[Table]:
    """Calls that ended well, and KB of each."""
    rows = []
    for name, runs in measured["runs"].items():
        kilobytes = [run["bytes"] / 1000 for run in runs]
        right = min(run["ends"].get("right", 0) for run in runs)
        failures = sorted({end for run in runs for end in run["ends"]} - {"right"})
        spread = f"{median(kilobytes):.1f} ({min(kilobytes):.1f}-{max(kilobytes):.1f})"
        ended = f"{right:,} / {measured['calls']:,}"
        rows.append([name, " ".join([ended, *map(code, failures)]), spread])
    return [Table(("contender", "calls that ended with the right order", "KB a call"), rows)]
