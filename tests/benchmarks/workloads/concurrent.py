"""Many async calls at once from one event loop, to a server that takes its time with each.

All contenders have their defaults, which for the client are 64 connections; so httpx has as many,
in one pool, or in clients of one connection each, which no pool holds up. A call sends one request.
What is compared is the time until all calls are over.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from benchmarks import pictures
from benchmarks.contenders import (
    OURS_ASYNC,
    RAW_CLIENTS,
    RAW_POOL,
    AsyncContender,
    Indexes,
    body_of,
    limited_client,
    ours_async,
    raw_clients,
    raw_pool,
    single_clients,
)
from benchmarks.peers import ASYNC_PEERS
from benchmarks.scale import Scale
from benchmarks.server import CannedProcess
from benchmarks.tables import Table, ratio, ratio_rows
from benchmarks.texts import documents, query
from benchmarks.turns import Turns
from qwen3_ascend_retrievers import RemoteEngine

NAMES = (OURS_ASYNC, RAW_POOL, RAW_CLIENTS, *ASYNC_PEERS)


def measure(scale: Scale) -> dict[str, Any]:
    """What all contenders took for a call, with `scale.calls` at once."""
    with CannedProcess(scale.latency) as server:
        return asyncio.run(_measure(server, scale)) | {"calls": scale.calls}


async def _measure(server: CannedProcess, scale: Scale) -> dict[str, Any]:
    question, texts, url = query(), documents(scale.documents), server.url
    body, turns = body_of(question, texts, use_activation=False), Turns(server)
    with RemoteEngine(url) as engine:
        async with limited_client(scale.slots) as client, single_clients(scale.slots) as clients:
            contenders: list[AsyncContender] = turns.build(
                {
                    RAW_POOL: partial(raw_pool, client, url, body),
                    RAW_CLIENTS: partial(raw_clients, clients, url, body),
                    OURS_ASYNC: partial(ours_async, engine, question, texts),
                    **{
                        name: partial(peer, url, question, texts)
                        for name, peer in ASYNC_PEERS.items()
                    },
                }
            )
            expected: Indexes = await contenders[0].rank()
            await turns.take_async(contenders, scale.rounds, scale.calls, expected)
    return turns.record()


def tables(run: dict[str, Any]) -> list[Table]:
    """Times beside the client's."""
    columns = ("time / `Reranker.arank`'s time", f"{run['calls']:,}", "requests at once")
    rows = ratio_rows(
        NAMES,
        {"": run},
        base=OURS_ASYNC,
        peers=ASYNC_PEERS,
        ours=OURS_ASYNC,
        count="most_at_once",
    )
    return [Table(columns, rows)]


def picture(run: dict[str, Any]) -> Any:
    """The table as bars."""
    shown = [name for name in NAMES if name in run["samples"]]
    ratios = {name: ratio(run, name, OURS_ASYNC).median for name in shown}
    return pictures.bars(ratios, f"time of {run['calls']:,} calls / Reranker.arank's time")
