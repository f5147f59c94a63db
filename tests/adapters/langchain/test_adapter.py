"""The compressor's own behaviour: fields, texts, metadata, runs, steps of a chain."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.schemas import Run

from qwen3_ascend_retrievers.errors import EngineError, InvalidInputError, ScoreError
from qwen3_ascend_retrievers.langchain import Qwen3Rerank
from qwen3_ascend_retrievers.testing import FakeEngine
from support.odd_engines import StuckEngine

CATS = [Document("a dog", id="1"), Document("a cat", id="2"), Document("two cats", id="3")]


def rerank_of(**fields: Any) -> tuple[Qwen3Rerank, FakeEngine]:
    engine = FakeEngine({"two cats": 0.25})
    return Qwen3Rerank(engine=engine, **fields), engine


def test_three_documents_by_default() -> None:
    rerank, _ = rerank_of()
    results = rerank.compress_documents([*CATS, *CATS], "cat")
    assert [document.id for document in results] == ["2", "2", "3"]


def test_threshold_and_duplicates() -> None:
    rerank, engine = rerank_of(top_n=None, score_threshold=0.2)
    results = rerank.compress_documents([*CATS, *CATS], "cat")
    assert [document.metadata for document in results] == [{"relevance_score": 1.0}] * 2 + [
        {"relevance_score": 0.25}
    ] * 2
    assert engine.calls == [("sync", ("a dog", "a cat", "two cats"))]


class Titled(Document):
    """A user's own kind of document."""


def test_kind_of_document_and_odd_metadata_survive() -> None:
    lock = threading.Lock()
    document = Titled("a cat", id="7", metadata={"lock": lock, "deep": [[1]]})
    rerank, _ = rerank_of(score_key="score")
    (result,) = rerank.compress_documents([document], "cat")
    assert type(result) is Titled
    assert result.metadata == {"lock": lock, "deep": [[1]], "score": 1.0}
    assert result.metadata["deep"][0] is not document.metadata["deep"][0]


def test_document_text_from_metadata_fields() -> None:
    rerank, engine = rerank_of(document_text=["title", "year", "none", "missing"])
    document = Document("body", metadata={"title": "Cats", "year": 1999, "none": None})
    rerank.compress_documents([document], "cat")
    assert engine.calls == [("sync", ("Cats\n1999\nbody",))]


def test_document_text_from_a_function() -> None:
    rerank, engine = rerank_of(document_text=lambda document: document.page_content.upper())
    (result,) = rerank.compress_documents(CATS[:1], "cat")
    assert engine.calls == [("sync", ("A DOG",))]
    assert result.page_content == "a dog"


@pytest.mark.parametrize("wrong", ["title", [1], 3])
def test_document_text_of_another_kind_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="document_text must be a function, or a list"):
        Qwen3Rerank(document_text=wrong)


def test_document_text_that_returns_no_str_is_refused() -> None:
    rerank, _ = rerank_of(document_text=lambda document: None)
    with pytest.raises(InvalidInputError, match=r"documents\[0\] must be a str, not NoneType"):
        rerank.compress_documents(CATS, "cat")


def test_diagnostics_and_an_earlier_rerankers_notes() -> None:
    failing = Qwen3Rerank(engine=FakeEngine(error=EngineError("x")), on_error="keep_order")
    documents = failing.compress_documents(CATS, "cat")
    assert [document.metadata for document in documents] == [{"rerank_status": "kept_order"}] * 3
    rerank, _ = rerank_of(top_n=1)
    assert rerank.compress_documents(documents, "cat")[0].metadata == {"relevance_score": 1.0}
    rerank.diagnostics = True
    assert rerank.compress_documents(documents, "cat")[0].metadata == {
        "relevance_score": 1.0,
        "rerank_status": "reranked",
        "rerank_index": 1,
        "rerank_model": "fake",
        "rerank_span": [0, 5],
        "rerank_cut": "no",
        "rerank_windows": 1,
    }


def test_a_kept_order_names_the_kind_of_error_in_diagnostics() -> None:
    engine = FakeEngine(error=ScoreError("x"))
    rerank = Qwen3Rerank(engine=engine, on_error="keep_order", diagnostics=True, top_n=1)
    (result,) = rerank.compress_documents([Document("b", metadata={"relevance_score": 3})], "q")
    assert result.metadata["rerank_error"] == "ScoreError"
    assert result.metadata["relevance_score"] == 3


@pytest.mark.parametrize("wrong", ["text", None, ["text"], [CATS[0], 3], {"a": 1}])
def test_what_is_no_list_of_documents_is_refused(wrong: Any) -> None:
    rerank, engine = rerank_of()
    with pytest.raises(InvalidInputError, match="must be a"):
        rerank.compress_documents(wrong, "cat")
    assert engine.calls == []


@pytest.mark.parametrize("wrong", [None, "", " ", 3])
def test_what_is_no_query_is_refused_even_under_keep_order(wrong: Any) -> None:
    rerank, _ = rerank_of(on_error="keep_order")
    with pytest.raises(InvalidInputError, match="query"):
        rerank.compress_documents(CATS, wrong)


async def test_direct_use() -> None:
    rerank, engine = rerank_of(top_n=2)
    documents = ["a dog", Document("a cat")]
    both = [rerank.rerank(documents, "cat"), await rerank.arerank(documents, "cat")]
    assert (
        both == [[{"index": 1, "relevance_score": 1.0}, {"index": 0, "relevance_score": 0.0}]] * 2
    )
    assert [how for how, _ in engine.calls] == ["sync", "async"]
    assert len(rerank.rerank(["a", "b", "c"], "cat")) == 2
    assert len(rerank.rerank(["a", "b", "c"], "cat", top_n=None)) == 3
    assert len(rerank.rerank(["a", "b", "c"], "cat", top_n=1)) == 1
    with pytest.raises(InvalidInputError, match="top_n is 0"):
        rerank.rerank(documents, "cat", top_n=0)
    with pytest.raises(InvalidInputError, match=r"documents\[0\] must be a str or a Document"):
        rerank.rerank([{"text": "a"}], "cat")
    with pytest.raises(InvalidInputError, match="documents must be a list of str or documents"):
        rerank.rerank("a cat", "cat")
    assert rerank.rerank([], "cat") == []


class Tracer(BaseTracer):
    """Keeps the finished root runs."""

    def __init__(self) -> None:
        super().__init__()
        self.roots: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        self.roots.append(run)


INPUTS = [{"query": "cat", "documents": CATS}, ("cat", CATS)]


@pytest.mark.parametrize("chain_input", INPUTS, ids=["dict", "pair"])
async def test_a_step_of_a_chain_is_traced_under_the_chain(chain_input: Any) -> None:
    rerank, engine = rerank_of(top_n=1)
    chain = RunnablePassthrough() | rerank.as_runnable()
    for is_async in (False, True):
        tracer = Tracer()
        config = {"callbacks": [tracer]}
        results = (
            await chain.ainvoke(chain_input, config)
            if is_async
            else chain.invoke(chain_input, config)
        )
        assert [document.id for document in results] == ["2"]
        (root,) = tracer.roots
        step = next(run for run in root.child_runs if run.name == "Qwen3Rerank")
        (run,) = step.child_runs
        assert run.inputs["query"] == "cat"
        assert run.outputs is not None
        assert (run.outputs["scores"], run.outputs["status"]) == ([1.0], "reranked")
        assert run.end_time is not None
        assert run.end_time >= run.start_time
    assert [how for how, _ in engine.calls] == ["sync", "async"]


def test_without_callbacks_the_surrounding_chain_is_told() -> None:
    rerank, _ = rerank_of()
    tracer = Tracer()
    chain = RunnableLambda(lambda query: rerank.compress_documents(CATS, query))
    chain.invoke("cat", {"callbacks": [tracer]})
    assert [run.name for run in tracer.roots[0].child_runs] == ["Qwen3Rerank"]


def test_a_kept_order_is_traced() -> None:
    tracer = Tracer()
    engine = FakeEngine(error=EngineError("no memory"))
    rerank = Qwen3Rerank(engine=engine, on_error="keep_order")
    rerank.compress_documents(CATS, "cat", callbacks=[tracer])
    (run,) = tracer.roots
    assert run.outputs is not None
    assert (run.outputs["status"], run.outputs["error"]) == ("kept_order", "no memory")


@pytest.mark.parametrize("wrong", [{"query": "a"}, ("a",), "a", 3])
def test_a_step_refuses_other_inputs(wrong: Any) -> None:
    rerank, _ = rerank_of()
    with pytest.raises(InvalidInputError, match="The input must be"):
        rerank.as_runnable().invoke(wrong)


def test_a_step_names_the_keys_that_are_missing_and_unknown() -> None:
    rerank, _ = rerank_of()
    words = "not a dict without 'query' and 'documents' but with 'question', 'docs'."
    with pytest.raises(InvalidInputError, match=words):
        rerank.as_runnable().invoke({"question": "a", "docs": CATS})


class Errors(BaseCallbackHandler):
    """Keeps what runs ended with."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []

    def on_chain_error(self, error: BaseException, **_: Any) -> None:
        self.errors.append(error)


async def test_a_cancelled_call_ends_its_run() -> None:
    engine, errors = StuckEngine(), Errors()
    rerank = Qwen3Rerank(engine=engine)
    task = asyncio.create_task(rerank.acompress_documents(CATS, "cat", callbacks=[errors]))
    await engine.waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [type(error) for error in errors.errors] == [asyncio.CancelledError]


def test_what_is_not_scored_has_no_score_of_an_earlier_reranker() -> None:
    rerank, _ = rerank_of(top_n=None)
    once = rerank.compress_documents(CATS, "cat")
    rerank.max_documents = 1
    scored, *others = rerank.compress_documents(once, "cat")
    assert "relevance_score" in scored.metadata
    assert [other.metadata for other in others] == [{"rerank_status": "not_scored"}] * len(others)
