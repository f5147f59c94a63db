"""The compressor inside the retrievers and pipelines of langchain-classic."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import DocumentCompressorPipeline
from langchain_core.callbacks import BaseCallbackHandler, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_tests.integration_tests import RetrieversIntegrationTests
from langchain_text_splitters import CharacterTextSplitter

from qwen3_ascend_retrievers.langchain import Qwen3Rerank
from qwen3_ascend_retrievers.testing import FakeEngine

TEXTS = ["a dog", "a cat", "two cats", "a cat and a dog", "cat food"]


class EverythingRetriever(BaseRetriever):
    """Returns all it has, in a fixed order."""

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        return [Document(text, id=str(at)) for at, text in enumerate(TEXTS)]


class RerankedRetriever(BaseRetriever):
    """A retriever wrapped with the compressor; `k` is the compressor's `top_n`."""

    k: int = 3

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        compressor = Qwen3Rerank(engine=FakeEngine(), top_n=kwargs.get("k", self.k))
        wrapped = ContextualCompressionRetriever(
            base_compressor=compressor, base_retriever=EverythingRetriever()
        )
        return wrapped.invoke(query, config={"callbacks": run_manager.get_child()})


class TestRerankedRetriever(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self) -> type[RerankedRetriever]:
        return RerankedRetriever

    @property
    def retriever_query_example(self) -> str:
        return "cat"


class Starts(BaseCallbackHandler):
    """Notes who started whom."""

    def __init__(self) -> None:
        self.parents: dict[str, Any] = {}
        self.ids: dict[str, Any] = {}

    def on_retriever_start(
        self, serialized: Any, query: str, *, run_id: Any, parent_run_id: Any = None, **_: Any
    ) -> None:
        self.ids["retriever" if parent_run_id else "compression"] = run_id

    def on_chain_start(
        self, serialized: Any, inputs: Any, *, parent_run_id: Any = None, **_: Any
    ) -> None:
        self.parents[serialized["name"]] = parent_run_id


@pytest.mark.parametrize("in_a_pipeline", [False, True])
async def test_inside_a_compression_retriever(in_a_pipeline: bool) -> None:
    engine = FakeEngine()
    rerank: Any = Qwen3Rerank(engine=engine, top_n=2)
    if in_a_pipeline:
        splitter = CharacterTextSplitter(chunk_size=100, chunk_overlap=0)
        rerank = DocumentCompressorPipeline(transformers=[splitter, rerank])
    retriever = ContextualCompressionRetriever(
        base_compressor=rerank, base_retriever=EverythingRetriever()
    )
    for is_async in (False, True):
        starts = Starts()
        config: Any = {"callbacks": [starts]}
        call = retriever.ainvoke("cat", config) if is_async else None
        results = await call if call else retriever.invoke("cat", config)
        assert [document.page_content for document in results] == ["a cat", "a cat and a dog"]
        assert starts.parents == {"Qwen3Rerank": starts.ids["compression"]}
    assert [how for how, _ in engine.calls] == ["sync", "async"]
