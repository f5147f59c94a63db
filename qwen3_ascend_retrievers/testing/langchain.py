"""The conformance suite of LangChain document compressors. Needs langchain-core."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ..errors import EngineError, MissingDependencyError
from .conformance import QUERY, RIGHT_ORDER, SCORES, TEXTS, WatchedEngine

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
        for found in self._both(self.make(WatchedEngine(), top_n=None), _documents()):
            assert _texts(found) == [TEXTS[at] for at in RIGHT_ORDER]

    def test_top_n(self) -> None:
        for found in self._both(self.make(WatchedEngine(), top_n=2), _documents()):
            assert _texts(found) == [TEXTS[at] for at in RIGHT_ORDER[:2]]

    def test_scores(self) -> None:
        for found in self._both(self.make(WatchedEngine(), top_n=None), _documents()):
            scores = [one.metadata.get(self.score_key) for one in found]
            assert scores == [SCORES[one.page_content] for one in found]

    def test_ids_and_metadata_are_kept(self) -> None:
        for found in self._both(self.make(WatchedEngine(), top_n=None), _documents()):
            assert len(found) == len(TEXTS)
            for one in found:
                at = TEXTS.index(one.page_content)
                assert one.id == f"id-{at}", "the document's id was lost"
                assert one.metadata["source"] == {"page": at}, "metadata were lost"

    def test_old_metadata_do_not_hide_the_score(self) -> None:
        given = [Document(TEXTS[1], metadata={self.score_key: "old"})]
        for found in self._both(self.make(WatchedEngine()), given):
            assert found[0].metadata[self.score_key] == SCORES[TEXTS[1]]

    def test_input_is_not_changed(self) -> None:
        given = _documents()
        before = deepcopy(given)
        for found in self._both(self.make(WatchedEngine(), top_n=None), given):
            assert given == before, "the caller's documents were changed"
            for one in found:
                one.metadata["source"]["page"] = -1
            assert given == before, "a result shares its metadata with the caller's document"

    def test_async_does_not_use_a_thread(self) -> None:
        engine = WatchedEngine()
        asyncio.run(_acompress(self.make(engine), _documents(), None))
        engine.check_async()

    def test_no_documents_make_no_call(self) -> None:
        engine = WatchedEngine()
        for found in self._both(self.make(engine), []):
            assert list(found) == []
        assert engine.calls == []

    def test_child_run(self) -> None:
        for seen, parent in self._traced(self.make(WatchedEngine(), top_n=None)):
            run = seen.only_child_of(parent)
            assert run.inputs["query"] == QUERY
            assert _texts(run.inputs["documents"]) == list(TEXTS)
            assert _texts(run.outputs["documents"]) == [TEXTS[at] for at in RIGHT_ORDER]
            assert run.error is None

    def test_errors_are_raised_and_traced(self) -> None:
        for seen, parent in self._traced(self.make(WatchedEngine(fails=True))):
            run = seen.only_child_of(parent)
            assert isinstance(seen.raised, EngineError), f"{seen.raised!r} was raised"
            assert run.error is seen.raised, "the run did not end with the error"

    def test_keep_order(self) -> None:
        compressor = self.make(WatchedEngine(fails=True), top_n=3, on_error="keep_order")
        for found in self._both(compressor, _documents()):
            assert _texts(found) == list(TEXTS[:3])
            assert {one.metadata["rerank_status"] for one in found} == {"kept_order"}
            assert not any(self.score_key in one.metadata for one in found)

    def _both(
        self, compressor: BaseDocumentCompressor, documents: list[Document]
    ) -> list[Sequence[Document]]:
        found = compressor.compress_documents(documents, QUERY)
        return [found, asyncio.run(_acompress(compressor, documents, None))]

    def _traced(self, compressor: BaseDocumentCompressor) -> list[tuple[_Seen, UUID]]:
        """What a tracer sees of a sync and of an async call, with the parent run's id."""
        sync, own = _Seen(), CallbackManager.configure
        parent = own(inheritable_callbacks=[sync]).on_chain_start({"name": "parent"}, {})
        try:
            compressor.compress_documents(_documents(), QUERY, parent.get_child())
        except Exception as error:
            sync.raised = error
        return [(sync, parent.run_id), asyncio.run(_atraced(compressor))]


async def _atraced(compressor: BaseDocumentCompressor) -> tuple[_Seen, UUID]:
    seen, own = _Seen(), AsyncCallbackManager.configure
    parent = await own(inheritable_callbacks=[seen]).on_chain_start({"name": "parent"}, {})
    try:
        await _acompress(compressor, _documents(), parent.get_child())
    except Exception as error:
        seen.raised = error
    return seen, parent.run_id


async def _acompress(
    compressor: BaseDocumentCompressor, documents: list[Document], callbacks: Any
) -> Sequence[Document]:
    return await compressor.acompress_documents(documents, QUERY, callbacks)


def _documents() -> list[Document]:
    return [
        Document(text, id=f"id-{at}", metadata={"source": {"page": at}})
        for at, text in enumerate(TEXTS)
    ]


def _texts(documents: Sequence[Document]) -> list[str]:
    return [one.page_content for one in documents]


class _Run:
    """One run: its inputs, and how it ended."""

    def __init__(self, inputs: Any, parent: UUID | None) -> None:
        self.inputs = inputs
        self.parent = parent
        self.outputs: Any = None
        self.error: BaseException | None = None
        self.ended = False


class _Seen(BaseCallbackHandler):
    """What a tracer sees; `raised` is what reached the caller."""

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
