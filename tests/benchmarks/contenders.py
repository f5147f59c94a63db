"""What is compared: a name, and a call that returns the best documents' indexes, best first.

Here are raw HTTP and this package; other clients are in `peers.py`. Documents carry their index as
the id that each framework has for them, so that no metadata changes what is sent.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from benchmarks.scale import TOP_N
from benchmarks.server import CannedProcess
from qwen3_ascend_retrievers import RemoteEngine, Reranker

Indexes = list[int]
Body = dict[str, Any]

# Names in the tables: code is what a caller of it writes; the rest has a translation in wording.py.
RAW = "httpx, our bodies"
RAW_WHOLE = "httpx, one body"
RAW_TOP_N = "httpx, one body, the server cuts to 10"
RAW_POOL = "httpx, a pool of 64"
RAW_CLIENTS = "httpx, 64 clients of one connection"
OURS = "`Reranker`"
OURS_ASYNC = "`Reranker.arank`"
OURS_LANGCHAIN = "`Qwen3Rerank` (LangChain)"
OURS_LLAMA_INDEX = "`Qwen3Rerank` (LlamaIndex)"

_JSON = {"Content-Type": "application/json"}
SECONDS = 60.0


@dataclass(frozen=True)
class Contender:
    """A way to rerank, from one caller."""

    name: str
    rank: Callable[[], Indexes]


@dataclass(frozen=True)
class AsyncContender:
    """A way to rerank, from many callers in one event loop."""

    name: str
    rank: Callable[[], Awaitable[Indexes]]


def body_of(query: str, texts: Sequence[str], **more: Any) -> Body:
    """What a plain client sends to vLLM."""
    return {"model": "tiny", "query": query, "documents": list(texts), **more}


def offsets_of(bodies: Sequence[Body], texts: Sequence[str]) -> list[tuple[int, Body]]:
    """Each body with the index of its first document, in that order.

    Bodies of other documents, which are a handshake's, are left out.
    """
    indexes = {text: index for index, text in enumerate(texts)}
    offsets = [(indexes.get(body["documents"][0], -1), body) for body in bodies]
    return sorted((pair for pair in offsets if pair[0] >= 0), key=lambda pair: pair[0])


def recorded_bodies(
    server: CannedProcess, rank: Callable[[], object], texts: Sequence[str]
) -> list[tuple[int, Body]]:
    """What one call of `rank` really sends, as `offsets_of` returns it."""
    # The first calls shake hands, and prove the connections that they open.
    for _ in range(2):
        rank()
    server.record()
    rank()
    return offsets_of(server.recorded(), texts)


async def recorded_bodies_async(
    server: CannedProcess, rank: Callable[[], Awaitable[object]], texts: Sequence[str]
) -> list[tuple[int, Body]]:
    """The same for an awaited call."""
    for _ in range(2):
        await rank()
    server.record()
    await rank()
    return offsets_of(server.recorded(), texts)


def best(scored: list[tuple[float, int]]) -> Indexes:
    """The indexes of the lowest pairs, of the negative score and the index."""
    scored.sort()
    return [index for _, index in scored[:TOP_N]]


def read_scores(offset: int, content: bytes) -> list[tuple[float, int]]:
    """The scores of a reply to documents from `offset` on, as `best` takes them."""
    results = json.loads(content)["results"]
    return [(-entry["relevance_score"], offset + entry["index"]) for entry in results]


def raw(name: str, client: httpx.Client, url: str, bodies: Sequence[tuple[int, Body]]) -> Contender:
    """httpx.Client: the bodies one after another over one connection, and the best of all."""

    def rank() -> Indexes:
        scored = []
        for offset, body in bodies:
            reply = client.post(
                f"{url}/v1/rerank", content=json.dumps(body).encode(), headers=_JSON
            )
            scored += read_scores(offset, reply.content)
        return best(scored)

    return Contender(name, rank)


async def posted(client: httpx.AsyncClient, url: str, body: Body) -> bytes:
    """What raw httpx does for one request among many: write the body, send it, take the reply."""
    reply = await client.post(f"{url}/v1/rerank", content=json.dumps(body).encode(), headers=_JSON)
    return reply.content


def ours(engine: RemoteEngine, query: str, texts: Sequence[str]) -> Contender:
    """`Reranker.rank`, without a framework."""
    reranker, texts = Reranker(engine, top_n=TOP_N), list(texts)
    return Contender(OURS, lambda: indexes_of(reranker.rank(query, texts)))


def indexes_of(ranking: Any) -> Indexes:
    """Those of a `Ranking`."""
    return [document.index for document in ranking.results]


def ours_async(engine: RemoteEngine, query: str, texts: Sequence[str]) -> AsyncContender:
    """`Reranker.arank`, without a framework."""
    reranker, texts = Reranker(engine, top_n=TOP_N), list(texts)

    async def rank() -> Indexes:
        return indexes_of(await reranker.arank(query, texts))

    return AsyncContender(OURS_ASYNC, rank)


def raw_pool(client: httpx.AsyncClient, url: str, body: Body) -> AsyncContender:
    """httpx.AsyncClient, whose pool holds back what has no connection."""

    async def rank() -> Indexes:
        return best(read_scores(0, await posted(client, url, body)))

    return AsyncContender(RAW_POOL, rank)


def raw_clients(
    clients: asyncio.LifoQueue[httpx.AsyncClient], url: str, body: Body
) -> AsyncContender:
    """The same without httpx's pool, which uses few of its connections when many calls wait."""

    async def rank() -> Indexes:
        client = await clients.get()
        try:
            return best(read_scores(0, await posted(client, url, body)))
        finally:
            clients.put_nowait(client)

    return AsyncContender(RAW_CLIENTS, rank)


def limited_client(slots: int, context: ssl.SSLContext | None = None) -> httpx.AsyncClient:
    """An AsyncClient with so many connections, which waits for one without end."""
    limits = httpx.Limits(max_connections=slots, max_keepalive_connections=slots)
    return httpx.AsyncClient(limits=limits, timeout=None, verify=context or True)


@asynccontextmanager
async def single_clients(count: int) -> AsyncIterator[asyncio.LifoQueue[httpx.AsyncClient]]:
    """So many AsyncClients of one connection each, of which the one used last is used next."""
    clients: asyncio.LifoQueue[httpx.AsyncClient] = asyncio.LifoQueue()
    context = ssl.create_default_context()
    async with AsyncExitStack() as open_clients:
        for _ in range(count):
            client = await open_clients.enter_async_context(limited_client(1, context))
            clients.put_nowait(client)
        yield clients


def ours_langchain(engine: RemoteEngine, query: str, texts: Sequence[str]) -> Contender:
    """The LangChain adapter."""
    from qwen3_ascend_retrievers.langchain import Qwen3Rerank

    compressor, documents = Qwen3Rerank(engine=engine, top_n=TOP_N), langchain_documents(texts)
    return Contender(
        OURS_LANGCHAIN, lambda: ids_of(compressor.compress_documents(documents, query))
    )


def ours_llama_index(engine: RemoteEngine, query: str, texts: Sequence[str]) -> Contender:
    """The LlamaIndex adapter."""
    from qwen3_ascend_retrievers.llama_index import Qwen3Rerank

    postprocessor, nodes = Qwen3Rerank(engine=engine, top_n=TOP_N), llama_index_nodes(texts)

    def rank() -> Indexes:
        results = postprocessor.postprocess_nodes(nodes, query_str=query)
        return [int(result.node.node_id) for result in results]

    return Contender(OURS_LLAMA_INDEX, rank)


def langchain_documents(texts: Sequence[str]) -> list[Any]:
    """LangChain's documents, with their index as id."""
    from langchain_core.documents import Document

    return [Document(text, id=str(index)) for index, text in enumerate(texts)]


def ids_of(documents: Sequence[Any]) -> Indexes:
    """The indexes of LangChain's or Haystack's documents."""
    return [int(document.id) for document in documents]


def llama_index_nodes(texts: Sequence[str]) -> list[Any]:
    """LlamaIndex's nodes as a retriever returns them, with their index as id."""
    from llama_index.core.schema import NodeWithScore, TextNode

    return [
        NodeWithScore(node=TextNode(text=text, id_=str(index)), score=0.5)
        for index, text in enumerate(texts)
    ]
