"""One caller, sync, without latency: what the client costs for a call of few or many documents.

httpx sends what `Reranker` really sent, recorded from the server, one after another over one
connection; and all documents in one body. With `batch_size` the client and those peers that have
such a setting send as many documents at once as they may; else all have their defaults.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import httpx

from benchmarks import pictures
from benchmarks.contenders import (
    OURS,
    OURS_LANGCHAIN,
    OURS_LLAMA_INDEX,
    RAW,
    RAW_TOP_N,
    RAW_WHOLE,
    SECONDS,
    Contender,
    body_of,
    ours,
    ours_langchain,
    ours_llama_index,
    raw,
    recorded_bodies,
)
from benchmarks.peers import PEERS
from benchmarks.scale import TOP_N, Scale
from benchmarks.server import CannedProcess
from benchmarks.tables import Table, cpu_rows, ratio_rows, server_row, share_of_server
from benchmarks.texts import documents, query
from benchmarks.turns import Turns
from qwen3_ascend_retrievers import RemoteEngine

_MOST_OF_SERVER = 0.5
NAMES = (OURS, OURS_LANGCHAIN, OURS_LLAMA_INDEX, RAW, RAW_WHOLE, RAW_TOP_N, *PEERS)


def measure(scale: Scale, batch_size: int | None = None) -> dict[str, Any]:
    """By number of documents, what all contenders took."""
    runs = {}
    for size, repeats in zip(scale.sizes, scale.repeats, strict=True):
        with CannedProcess() as server:
            runs[str(size)] = _measure_size(server, size, scale.rounds, repeats, batch_size)
    return runs


def _measure_size(
    server: CannedProcess, size: int, rounds: int, repeats: int, batch_size: int | None
) -> dict[str, Any]:
    question, texts = query(), documents(size)
    sizes: dict[str, Any] = {} if batch_size is None else {"batch_size": batch_size}
    turns = Turns(server)
    with RemoteEngine(server.url, **sizes) as engine, httpx.Client(timeout=SECONDS) as client:
        bodies = recorded_bodies(server, ours(engine, question, texts).rank, texts)
        whole = body_of(question, texts, use_activation=False)
        raws = {
            RAW: bodies, RAW_WHOLE: [(0, whole)], RAW_TOP_N: [(0, whole | {"top_n": TOP_N})],
        }  # fmt: skip
        builders: dict[str, Callable[[], Contender]] = {
            name: partial(raw, name, client, server.url, sent) for name, sent in raws.items()
        }
        builders |= _builders(server.url, engine, question, texts, batch_size)
        contenders = turns.agreeing(turns.build(builders))
        turns.take(contenders, rounds, repeats)
    run = turns.record()
    if share_of_server(run, RAW) >= _MOST_OF_SERVER:
        print(f"{size} documents: half of httpx's time is the server's, so ratios say little")
    return run


def _builders(
    url: str, engine: RemoteEngine, question: str, texts: list[str], batch_size: int | None
) -> dict[str, Callable[[], Contender]]:
    return {
        OURS: partial(ours, engine, question, texts),
        OURS_LANGCHAIN: partial(ours_langchain, engine, question, texts),
        OURS_LLAMA_INDEX: partial(ours_llama_index, engine, question, texts),
        **{name: partial(peer, url, question, texts, batch_size) for name, peer in PEERS.items()},
    }


def tables(runs: dict[str, Any]) -> list[Table]:
    """Times beside httpx's with our bodies, and CPU for each document more than its."""
    sizes = {f"{int(size):,}": run for size, run in runs.items()}
    columns = ("time / httpx's time, by documents", *sizes, "requests")
    times = ratio_rows(NAMES, sizes, base=RAW, peers=PEERS, ours=OURS, count="requests")
    times.append(server_row(sizes, RAW))
    cpu = cpu_rows(
        [name for name in NAMES if name != RAW], sizes, RAW, [int(size) for size in runs]
    )
    return [
        Table(columns, times),
        Table(("CPU beyond httpx's, µs a document, by documents", *sizes), cpu),
    ]


def picture(runs: dict[str, Any]) -> Any:
    """Both tables as lines over the number of documents."""
    return pictures.lines_by_size(runs, NAMES, RAW)
