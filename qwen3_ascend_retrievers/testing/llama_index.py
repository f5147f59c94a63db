"""The conformance suite of LlamaIndex node postprocessors. Needs llama-index-core."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest

from ..errors import EngineError, MissingDependencyError
from .conformance import CONFORMANCE_QUERY, RIGHT_ORDER, SCORES, TEXTS, WatchedEngine

try:
    from llama_index.core.callbacks import CallbackManager
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import (
        MetadataMode,
        NodeRelationship,
        NodeWithScore,
        QueryBundle,
        RelatedNodeInfo,
        TextNode,
    )
except ImportError as error:
    raise MissingDependencyError(
        "PostprocessorConformance needs llama-index-core: "
        "pip install 'qwen3-ascend-retrievers[llama-index]'"
    ) from error

from ._llama_index_events import CallRecord, recording

if TYPE_CHECKING:
    from ..engines.base import Engine


class PostprocessorConformance:
    """Tests that every node postprocessor on a Reranker must pass, sync and async.

    Subclass it in a test module under a name that starts with `Test`, and make your postprocessor:

        class TestMine(PostprocessorConformance):
            def make(self, engine, **fields):
                return MyPostprocessor(engine=engine, **fields)
    """

    def make(self, engine: Engine, **fields: Any) -> BaseNodePostprocessor:
        """A postprocessor on `engine`; `fields` are `top_n`, `on_error` and `callback_manager`."""
        raise NotImplementedError("Return your postprocessor here.")

    def test_best_first(self) -> None:
        for results in self._both(self.make(WatchedEngine(), top_n=None), _sample_nodes()):
            assert _node_texts(results) == [TEXTS[at] for at in RIGHT_ORDER]

    def test_top_n(self) -> None:
        for results in self._both(self.make(WatchedEngine(), top_n=2), _sample_nodes()):
            assert _node_texts(results) == [TEXTS[at] for at in RIGHT_ORDER[:2]]

    def test_scores(self) -> None:
        for results in self._both(self.make(WatchedEngine(), top_n=None), _sample_nodes()):
            assert [result.score for result in results] == [SCORES[TEXTS[at]] for at in RIGHT_ORDER]
            retrieval_scores = [result.node.metadata.get("retrieval_score") for result in results]
            assert retrieval_scores == [_retrieval_score(at) for at in RIGHT_ORDER], (
                "the retriever's score was lost"
            )

    def test_ids_metadata_and_relationships_are_kept(self) -> None:
        for results in self._both(self.make(WatchedEngine(), top_n=None), _sample_nodes()):
            assert len(results) == len(TEXTS)
            for result in results:
                at = TEXTS.index(result.node.get_content(MetadataMode.NONE))
                assert result.node.node_id == f"id-{at}", "the node's id was lost"
                assert result.node.metadata["source"] == {"page": at}, "metadata were lost"
                related = result.node.relationships[NodeRelationship.SOURCE]
                assert isinstance(related, RelatedNodeInfo)
                assert related.node_id == f"file-{at}", "relationships were lost"

    def test_texts_stay_the_same(self) -> None:
        original_nodes = {result.node.node_id: result.node for result in _sample_nodes()}
        for results in self._both(self.make(WatchedEngine(), top_n=None), _sample_nodes()):
            for result in results:
                for mode in (MetadataMode.EMBED, MetadataMode.LLM, MetadataMode.NONE):
                    before = original_nodes[result.node.node_id].get_content(mode)
                    assert result.node.get_content(mode) == before, f"the {mode.value} text changed"

    def test_input_is_not_changed(self) -> None:
        nodes = _sample_nodes()
        before = deepcopy(nodes)
        for results in self._both(self.make(WatchedEngine(), top_n=None), nodes):
            assert nodes == before, "the caller's nodes were changed"
            for result in results:
                result.node.metadata["source"]["page"] = -1
                result.node.relationships.clear()
                result.node.excluded_llm_metadata_keys.clear()
            assert nodes == before, "a result shares its parts with the caller's node"

    def test_async_does_not_use_a_thread(self) -> None:
        engine = WatchedEngine()
        asyncio.run(_apostprocess(self.make(engine), _sample_nodes()))
        engine.check_async()

    def test_no_nodes_make_no_call(self) -> None:
        engine = WatchedEngine()
        for results in self._both(self.make(engine), []):
            assert results == []
        assert engine.calls == []

    def test_missing_query_is_a_value_error(self) -> None:
        component = self.make(WatchedEngine())
        with pytest.raises(ValueError, match=r"(?i)query"):
            component.postprocess_nodes(_sample_nodes())
        with pytest.raises(ValueError, match=r"(?i)query"):
            asyncio.run(component.apostprocess_nodes(_sample_nodes()))

    def test_events(self) -> None:
        for record in self._traced(top_n=None):
            assert record.raised is None
            start, end = record.rerank_events()
            assert start.query is not None
            assert str(getattr(start.query, "query_str", start.query)) == CONFORMANCE_QUERY
            assert _node_texts(start.nodes) == list(TEXTS)
            assert _node_texts(end.nodes) == [TEXTS[at] for at in RIGHT_ORDER]

    def test_errors_are_raised_and_events_paired(self) -> None:
        for record in self._traced(fails=True):
            assert isinstance(record.raised, EngineError), f"{record.raised!r} was raised"
            record.rerank_events()

    def test_keep_order(self) -> None:
        component = self.make(WatchedEngine(fails=True), top_n=3, on_error="keep_order")
        for results in self._both(component, _sample_nodes()):
            assert _node_texts(results) == list(TEXTS[:3])
            assert [result.score for result in results] == [_retrieval_score(at) for at in range(3)]
            assert {result.node.metadata["rerank_status"] for result in results} == {"kept_order"}

    def _both(
        self, component: BaseNodePostprocessor, nodes: list[NodeWithScore]
    ) -> Iterator[list[NodeWithScore]]:
        yield component.postprocess_nodes(nodes, QueryBundle(CONFORMANCE_QUERY))
        yield asyncio.run(_apostprocess(component, nodes))

    def _traced(self, *, fails: bool = False, **fields: Any) -> list[CallRecord]:
        """The events of a sync and of an async call."""
        records = []
        for is_async in (False, True):
            record = CallRecord()
            manager = CallbackManager([record.callbacks])
            component = self.make(WatchedEngine(fails=fails), callback_manager=manager, **fields)
            with recording(record.events):
                try:
                    if is_async:
                        asyncio.run(_apostprocess(component, _sample_nodes()))
                    else:
                        component.postprocess_nodes(_sample_nodes(), QueryBundle(CONFORMANCE_QUERY))
                except Exception as error:
                    record.raised = error
            records.append(record)
        return records


async def _apostprocess(
    component: BaseNodePostprocessor, nodes: list[NodeWithScore]
) -> list[NodeWithScore]:
    return await component.apostprocess_nodes(nodes, QueryBundle(CONFORMANCE_QUERY))


def _retrieval_score(at: int) -> float:
    return 1 - at / 16


def _sample_nodes() -> list[NodeWithScore]:
    return [
        NodeWithScore(
            node=TextNode(
                text=text,
                id_=f"id-{at}",
                metadata={"source": {"page": at}},
                excluded_embed_metadata_keys=["source"],
                relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"file-{at}")},
            ),
            score=_retrieval_score(at),
        )
        for at, text in enumerate(TEXTS)
    ]


def _node_texts(nodes: Sequence[NodeWithScore]) -> list[str]:
    return [result.node.get_content(MetadataMode.NONE) for result in nodes]
