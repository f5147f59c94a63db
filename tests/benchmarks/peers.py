"""Other clients of rerank servers, each on the route that it speaks, with `top_n` of 10.

Whoever cuts its requests takes `batch`, the documents of a request; None leaves its default. Each
builder imports its client itself: where one is not installed, the table names the reason.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from benchmarks.contenders import (
    AsyncContender,
    Contender,
    Indexes,
    ids_of,
    langchain_documents,
    llama_index_nodes,
)
from benchmarks.scale import TOP_N

HTTP_RERANKER = "`HttpReranker` (langchain-reranker)"
NVIDIA = "`NVIDIARerank` (LangChain)"
NVIDIA_LLAMA_INDEX = "`NVIDIARerank` (LlamaIndex)"
TEI = "`TextEmbeddingInference` (LlamaIndex)"
VLLM_RANKER = "`VLLMRanker` (Haystack)"
HTTP_RERANKER_THREADS = "`HttpReranker.acompress_documents`, in threads"
NVIDIA_ASYNC = "`NVIDIARerank.acompress_documents`"
VLLM_RANKER_ASYNC = "`VLLMRanker.run_async`"


def _http_reranker(url: str) -> Any:
    from langchain_reranker.rerankers import HttpReranker

    return HttpReranker(base_url=f"{url}/v1", model="tiny", top_n=TOP_N)


def _nvidia(url: str, batch: int | None) -> Any:
    from langchain_nvidia_ai_endpoints import NVIDIARerank

    sizes: dict[str, Any] = {} if batch is None else {"max_batch_size": batch}
    with warnings.catch_warnings():
        # That the model's type is unknown; NVIDIA's own names are the only ones it knows.
        warnings.simplefilter("ignore")
        return NVIDIARerank(base_url=f"{url}/v1", model="tiny", top_n=TOP_N, **sizes)


def _vllm_ranker(url: str) -> Any:
    from haystack_integrations.components.rankers.vllm import VLLMRanker

    return VLLMRanker(model="tiny", api_base_url=f"{url}/v1", top_k=TOP_N)


def _haystack_documents(texts: Sequence[str]) -> list[Any]:
    from haystack import Document

    return [Document(id=str(index), content=text) for index, text in enumerate(texts)]


def http_reranker(url: str, query: str, texts: Sequence[str], batch: int | None) -> Contender:
    """langchain-reranker's: one body to /v1/rerank, which the server cuts to `top_n`."""
    reranker, documents = _http_reranker(url), langchain_documents(texts)
    return Contender(HTTP_RERANKER, lambda: ids_of(reranker.compress_documents(documents, query)))


def nvidia(url: str, query: str, texts: Sequence[str], batch: int | None) -> Contender:
    """langchain-nvidia-ai-endpoints': /v1/ranking, 32 documents in a request by default."""
    reranker, documents = _nvidia(url, batch), langchain_documents(texts)
    return Contender(NVIDIA, lambda: ids_of(reranker.compress_documents(documents, query)))


def nvidia_llama_index(url: str, query: str, texts: Sequence[str], batch: int | None) -> Contender:
    """LlamaIndex's for NVIDIA: /v1/ranking, 64 documents in a request by default."""
    from llama_index.postprocessor.nvidia_rerank import NVIDIARerank

    sizes: dict[str, Any] = {} if batch is None else {"max_batch_size": batch}
    postprocessor = NVIDIARerank(base_url=f"{url}/v1", model="tiny", top_n=TOP_N, **sizes)
    return Contender(NVIDIA_LLAMA_INDEX, _postprocessing(postprocessor, query, texts))


def tei(url: str, query: str, texts: Sequence[str], batch: int | None) -> Contender:
    """LlamaIndex's for Text Embeddings Inference: one body to /rerank."""
    from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

    postprocessor = TextEmbeddingInference(base_url=url, top_n=TOP_N)
    return Contender(TEI, _postprocessing(postprocessor, query, texts))


def _postprocessing(postprocessor: Any, query: str, texts: Sequence[str]) -> Any:
    nodes = llama_index_nodes(texts)

    def rank() -> Indexes:
        results = postprocessor.postprocess_nodes(nodes, query_str=query)
        return [int(result.node.node_id) for result in results]

    return rank


def vllm_ranker(url: str, query: str, texts: Sequence[str], batch: int | None) -> Contender:
    """vllm-haystack's: one body to /v1/rerank, which the server cuts to `top_n`."""
    ranker, documents = _vllm_ranker(url), _haystack_documents(texts)
    return Contender(VLLM_RANKER, lambda: ids_of(ranker.run(query, documents)["documents"]))


def http_reranker_threads(url: str, query: str, texts: Sequence[str]) -> AsyncContender:
    """The same with LangChain's default of awaiting: the loop's own threads."""
    reranker, documents = _http_reranker(url), langchain_documents(texts)

    async def rank() -> Indexes:
        return ids_of(await reranker.acompress_documents(documents, query))

    return AsyncContender(HTTP_RERANKER_THREADS, rank)


def nvidia_async(url: str, query: str, texts: Sequence[str]) -> AsyncContender:
    """langchain-nvidia-ai-endpoints', awaited, over aiohttp."""
    reranker, documents = _nvidia(url, None), langchain_documents(texts)

    async def rank() -> Indexes:
        return ids_of(await reranker.acompress_documents(documents, query))

    return AsyncContender(NVIDIA_ASYNC, rank)


def vllm_ranker_async(url: str, query: str, texts: Sequence[str]) -> AsyncContender:
    """vllm-haystack's, awaited, over httpx with its default pool of 100 connections."""
    ranker, documents = _vllm_ranker(url), _haystack_documents(texts)

    async def rank() -> Indexes:
        return ids_of((await ranker.run_async(query, documents))["documents"])

    return AsyncContender(VLLM_RANKER_ASYNC, rank)


# In the order of the tables.
PEERS = {
    HTTP_RERANKER: http_reranker,
    NVIDIA: nvidia,
    NVIDIA_LLAMA_INDEX: nvidia_llama_index,
    TEI: tei,
    VLLM_RANKER: vllm_ranker,
}
ASYNC_PEERS = {
    HTTP_RERANKER_THREADS: http_reranker_threads,
    NVIDIA_ASYNC: nvidia_async,
    VLLM_RANKER_ASYNC: vllm_ranker_async,
}
