"""The conformance suite of LangChain document compressors. Needs langchain-core."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ..errors import EngineError, MissingDependencyError
from .conformance import CONFORMANCE_QUERY, RIGHT_ORDER, SCORES, TEXTS, WatchedEngine

try:
    from langchain_core.callbacks import (
        AsyncCallbackManager,
        BaseCallbackHandler,
        CallbackManager,
    )
    from langchain_core.documents import BaseDocumentCompressor, Document
except ImportError as error:
    raise MissingDependencyError(
        "CompressorConformance needs langchain-core: "
        "pip install 'qwen3-ascend-retrievers[langchain]'"
    ) from error

if TYPE_CHECKING:
    from ..engines.base import Engine


class CompressorConformance:
    """Tests that every compressor on a Reranker must pass, sync and async.

    Subclass it in a test module under a name that starts with `Test`, and make your compressor:

        class TestMine(CompressorConformance):
            def make(self, engine, **fields):
                return MyCompressor(engine=engine, **fields)

    Attributes:
        score_key: the metadata key that holds the score.
    """

    score_key = "relevance_score"

    def make(self, engine: Engine, **fields: Any) -> BaseDocumentCompressor:
        """A compressor on `engine`; `fields` are `top_n` and `on_error`, as in Qwen3Rerank."""
        raise NotImplementedError("Return your compressor here.")

    def test_best_first(self) -> None:
        for results in self._both(self.make(WatchedEngine(), top_n=None), _sample_documents()):
            assert _page_contents(results) == [TEXTS[at] for at in RIGHT_ORDER]

    def test_top_n(self) -> None:
        for results in self._both(self.make(WatchedEngine(), top_n=2), _sample_documents()):
            assert _page_contents(results) == [TEXTS[at] for at in RIGHT_ORDER[:2]]

    def test_scores(self) -> None:
        for results in self._both(self.make(WatchedEngine(), top_n=None), _sample_documents()):
            scores = [document.metadata.get(self.score_key) for document in results]
            assert scores == [SCORES[document.page_content] for document in results]

    def test_ids_and_metadata_are_kept(self) -> None:
        for results in self._both(self.make(WatchedEngine(), top_n=None), _sample_documents()):
            assert len(results) == len(TEXTS)
            for document in results:
                at = TEXTS.index(document.page_content)
                assert document.id == f"id-{at}", "the document's id was lost"
                assert document.metadata["source"] == {"page": at}, "metadata were lost"

    def test_old_metadata_do_not_hide_the_score(self) -> None:
        documents = [Document(TEXTS[1], metadata={self.score_key: "old"})]
        for results in self._both(self.make(WatchedEngine()), documents):
            assert results[0].metadata[self.score_key] == SCORES[TEXTS[1]]

    def test_input_is_not_changed(self) -> None:
        documents = _sample_documents()
        before = deepcopy(documents)
        for results in self._both(self.make(WatchedEngine(), top_n=None), documents):
            assert documents == before, "the caller's documents were changed"
            for document in results:
                document.metadata["source"]["page"] = -1
            assert documents == before, "a result shares its metadata with the caller's document"

    def test_async_does_not_use_a_thread(self) -> None:
        engine = WatchedEngine()
        asyncio.run(_acompress(self.make(engine), _sample_documents(), None))
        engine.check_async()

    def test_no_documents_make_no_call(self) -> None:
        engine = WatchedEngine()
        for results in self._both(self.make(engine), []):
            assert list(results) == []
        assert engine.calls == []

    def test_child_run(self) -> None:
        for tracer, parent in self._traced(self.make(WatchedEngine(), top_n=None)):
            run = tracer.only_child_of(parent)
            assert run.inputs["query"] == CONFORMANCE_QUERY
            assert _page_contents(run.inputs["documents"]) == list(TEXTS)
            assert _page_contents(run.outputs["documents"]) == [TEXTS[at] for at in RIGHT_ORDER]
            assert run.error is None

    def test_errors_are_raised_and_traced(self) -> None:
        for tracer, parent in self._traced(self.make(WatchedEngine(fails=True))):
            run = tracer.only_child_of(parent)
            assert isinstance(tracer.raised, EngineError), f"{tracer.raised!r} was raised"
            assert run.error is tracer.raised, "the run did not end with the error"

    def test_keep_order(self) -> None:
        compressor = self.make(WatchedEngine(fails=True), top_n=3, on_error="keep_order")
        for results in self._both(compressor, _sample_documents()):
            assert _page_contents(results) == list(TEXTS[:3])
            assert {document.metadata["rerank_status"] for document in results} == {"kept_order"}
            assert not any(self.score_key in document.metadata for document in results)

    def _both(
        self, compressor: BaseDocumentCompressor, documents: list[Document]
    ) -> list[Sequence[Document]]:
        results = compressor.compress_documents(documents, CONFORMANCE_QUERY)
        return [results, asyncio.run(_acompress(compressor, documents, None))]

    def _traced(self, compressor: BaseDocumentCompressor) -> list[tuple[_RunTracer, UUID]]:
        """A tracer for a sync and one for an async call, each with the parent run's id."""
        sync, configure = _RunTracer(), CallbackManager.configure
        parent = configure(inheritable_callbacks=[sync]).on_chain_start({"name": "parent"}, {})
        try:
            compressor.compress_documents(
                _sample_documents(), CONFORMANCE_QUERY, parent.get_child()
            )
        except Exception as error:
            sync.raised = error
        return [(sync, parent.run_id), asyncio.run(_atraced(compressor))]


async def _atraced(compressor: BaseDocumentCompressor) -> tuple[_RunTracer, UUID]:
    tracer, configure = _RunTracer(), AsyncCallbackManager.configure
    parent = await configure(inheritable_callbacks=[tracer]).on_chain_start({"name": "parent"}, {})
    try:
        await _acompress(compressor, _sample_documents(), parent.get_child())
    except Exception as error:
        tracer.raised = error
    return tracer, parent.run_id


async def _acompress(
    compressor: BaseDocumentCompressor, documents: list[Document], callbacks: Any
) -> Sequence[Document]:
    return await compressor.acompress_documents(documents, CONFORMANCE_QUERY, callbacks)


def _sample_documents() -> list[Document]:
    return [
        Document(text, id=f"id-{at}", metadata={"source": {"page": at}})
        for at, text in enumerate(TEXTS)
    ]


def _page_contents(documents: Sequence[Document]) -> list[str]:
    return [document.page_content for document in documents]


class _Run:
    """One run: its inputs, and how it ended."""

    def __init__(self, inputs: Any, parent: UUID | None) -> None:
        self.inputs = inputs
        self.parent = parent
        self.outputs: Any = None
        self.error: BaseException | None = None
        self.ended = False


class _RunTracer(BaseCallbackHandler):
    """The runs of one call; `raised` is the exception that reached the caller."""

    run_inline = True

    def __init__(self) -> None:
        self.runs: dict[UUID, _Run] = {}
        self.raised: Exception | None = None

    def only_child_of(self, parent: UUID) -> _Run:
        children = [run for run in self.runs.values() if run.parent == parent]
        assert len(children) == 1, f"{len(children)} child runs were opened, not 1"
        assert children[0].ended, "the child run was not ended"
        return children[0]

    def on_chain_start(
        self,
        serialized: Any,  # noqa: ARG002 - the framework's signature
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **_: Any,
    ) -> None:
        self.runs[run_id] = _Run(inputs, parent_run_id)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **_: Any) -> None:
        self.runs[run_id].outputs, self.runs[run_id].ended = outputs, True

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        self.runs[run_id].error, self.runs[run_id].ended = error, True
