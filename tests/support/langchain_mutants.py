"""Compressors with one fault each, and a sound one.

Run by tests/adapters/langchain/test_conformance.py only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.runnables import run_in_executor

from qwen3_ascend_retrievers.langchain import Qwen3Rerank
from qwen3_ascend_retrievers.testing import CompressorConformance
from support.mutant_runs import suites


class _Changed(Qwen3Rerank):
    """Its results go through `change`, sync and async."""

    def change(self, documents: Sequence[Document], reranked: list[Document]) -> list[Document]:
        raise NotImplementedError

    def compress_documents(self, documents: Any, query: str, callbacks: Any = None) -> Any:
        return self.change(documents, super().compress_documents(documents, query, callbacks))

    async def acompress_documents(self, documents: Any, query: str, callbacks: Any = None) -> Any:
        reranked = await super().acompress_documents(documents, query, callbacks)
        return self.change(documents, reranked)


class NoOp(_Changed):
    def change(self, documents: Sequence[Document], reranked: list[Document]) -> list[Document]:
        return list(documents)[: self.top_n]


class Reversed(_Changed):
    def change(self, documents: Sequence[Document], reranked: list[Document]) -> list[Document]:
        return reranked[::-1]


class DroppedId(_Changed):
    def change(self, documents: Sequence[Document], reranked: list[Document]) -> list[Document]:
        return [Document(result.page_content, metadata=result.metadata) for result in reranked]


class MutatedInput(_Changed):
    def change(self, documents: Sequence[Document], reranked: list[Document]) -> list[Document]:
        for document in documents:
            document.metadata["relevance_score"] = 1.0
        return reranked


class WrongKey(_Changed):
    def change(self, documents: Sequence[Document], reranked: list[Document]) -> list[Document]:
        for document in reranked:
            if "relevance_score" in document.metadata:
                document.metadata["score"] = document.metadata.pop("relevance_score")
        return reranked


class AsyncByThread(Qwen3Rerank):
    async def acompress_documents(self, documents: Any, query: str, callbacks: Any = None) -> Any:
        return await run_in_executor(None, self.compress_documents, documents, query, callbacks)


class AsyncInOtherLoop(Qwen3Rerank):
    async def acompress_documents(self, documents: Any, query: str, callbacks: Any = None) -> Any:
        call = super().acompress_documents(documents, query, callbacks)
        return await asyncio.to_thread(asyncio.run, call)


class LostCallbacks(Qwen3Rerank):
    def compress_documents(self, documents: Any, query: str, callbacks: Any = None) -> Any:
        return super().compress_documents(documents, query)

    async def acompress_documents(self, documents: Any, query: str, callbacks: Any = None) -> Any:
        return await super().acompress_documents(documents, query)


MUTANTS = [
    NoOp,
    Reversed,
    DroppedId,
    MutatedInput,
    WrongKey,
    AsyncByThread,
    AsyncInOtherLoop,
    LostCallbacks,
]
globals().update(suites(CompressorConformance, Qwen3Rerank, MUTANTS))
