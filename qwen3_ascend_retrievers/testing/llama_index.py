"""The conformance suite of LlamaIndex node postprocessors. Needs llama-index-core."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest

from ..errors import EngineError, MissingDependencyError
from .conformance import QUERY, RIGHT_ORDER, SCORES, TEXTS, WatchedEngine

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

from ._llama_index_events import Seen, listening

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
        for found in self._both(self.make(WatchedEngine(), top_n=None), _nodes()):
            assert _texts(found) == [TEXTS[at] for at in RIGHT_ORDER]

    def test_top_n(self) -> None:
        for found in self._both(self.make(WatchedEngine(), top_n=2), _nodes()):
            assert _texts(found) == [TEXTS[at] for at in RIGHT_ORDER[:2]]

    def test_scores(self) -> None:
        for found in self._both(self.make(WatchedEngine(), top_n=None), _nodes()):
            assert [one.score for one in found] == [SCORES[TEXTS[at]] for at in RIGHT_ORDER]
            kept = [one.node.metadata.get("retrieval_score") for one in found]
            assert kept == [_retrieved(at) for at in RIGHT_ORDER], "the retriever's score was lost"

    def test_ids_metadata_and_relationships_are_kept(self) -> None:
        for found in self._both(self.make(WatchedEngine(), top_n=None), _nodes()):
            assert len(found) == len(TEXTS)
            for one in found:
                at = TEXTS.index(one.node.get_content(MetadataMode.NONE))
                assert one.node.node_id == f"id-{at}", "the node's id was lost"
                assert one.node.metadata["source"] == {"page": at}, "metadata were lost"
                related = one.node.relationships[NodeRelationship.SOURCE]
                assert isinstance(related, RelatedNodeInfo)
                assert related.node_id == f"file-{at}", "relationships were lost"

    def test_texts_stay_the_same(self) -> None:
        given = {one.node.node_id: one.node for one in _nodes()}
        for found in self._both(self.make(WatchedEngine(), top_n=None), _nodes()):
            for one in found:
                for mode in (MetadataMode.EMBED, MetadataMode.LLM, MetadataMode.NONE):
                    before = given[one.node.node_id].get_content(mode)
                    assert one.node.get_content(mode) == before, f"the {mode.value} text changed"

    def test_input_is_not_changed(self) -> None:
        given = _nodes()
        before = deepcopy(given)
        for found in self._both(self.make(WatchedEngine(), top_n=None), given):
            assert given == before, "the caller's nodes were changed"
            for one in found:
                one.node.metadata["source"]["page"] = -1
                one.node.relationships.clear()
                one.node.excluded_llm_metadata_keys.clear()
            assert given == before, "a result shares its parts with the caller's node"

    def test_async_does_not_use_a_thread(self) -> None:
        engine = WatchedEngine()
        asyncio.run(_apostprocess(self.make(engine), _nodes()))
        engine.check_async()

    def test_no_nodes_make_no_call(self) -> None:
        engine = WatchedEngine()
        for found in self._both(self.make(engine), []):
            assert found == []
        assert engine.calls == []

    def test_missing_query_is_a_value_error(self) -> None:
        component = self.make(WatchedEngine())
        with pytest.raises(ValueError, match=r"(?i)query"):
            component.postprocess_nodes(_nodes())
        with pytest.raises(ValueError, match=r"(?i)query"):
            asyncio.run(component.apostprocess_nodes(_nodes()))

    def test_events(self) -> None:
        for seen in self._traced(top_n=None):
            assert seen.raised is None
            start, end = seen.pair()
            assert start.query is not None
            assert str(getattr(start.query, "query_str", start.query)) == QUERY
            assert _texts(start.nodes) == list(TEXTS)
            assert _texts(end.nodes) == [TEXTS[at] for at in RIGHT_ORDER]

    def test_errors_are_raised_and_events_paired(self) -> None:
        for seen in self._traced(fails=True):
            assert isinstance(seen.raised, EngineError), f"{seen.raised!r} was raised"
            seen.pair()

    def test_keep_order(self) -> None:
        component = self.make(WatchedEngine(fails=True), top_n=3, on_error="keep_order")
        for found in self._both(component, _nodes()):
            assert _texts(found) == list(TEXTS[:3])
            assert [one.score for one in found] == [_retrieved(at) for at in range(3)]
            assert {one.node.metadata["rerank_status"] for one in found} == {"kept_order"}

    def _both(
        self, component: BaseNodePostprocessor, nodes: list[NodeWithScore]
    ) -> Iterator[list[NodeWithScore]]:
        yield component.postprocess_nodes(nodes, QueryBundle(QUERY))
        yield asyncio.run(_apostprocess(component, nodes))

    def _traced(self, *, fails: bool = False, **fields: Any) -> list[Seen]:
        """What handlers see of a sync and of an async call."""
        both = []
        for is_async in (False, True):
            seen = Seen()
            manager = CallbackManager([seen.callbacks])
            component = self.make(WatchedEngine(fails=fails), callback_manager=manager, **fields)
            with listening(seen.events):
                try:
                    if is_async:
                        asyncio.run(_apostprocess(component, _nodes()))
                    else:
                        component.postprocess_nodes(_nodes(), QueryBundle(QUERY))
                except Exception as error:
                    seen.raised = error
            both.append(seen)
        return both


async def _apostprocess(
    component: BaseNodePostprocessor, nodes: list[NodeWithScore]
) -> list[NodeWithScore]:
    return await component.apostprocess_nodes(nodes, QueryBundle(QUERY))


def _retrieved(at: int) -> float:
    return 1 - at / 16


def _nodes() -> list[NodeWithScore]:
    return [
        NodeWithScore(
            node=TextNode(
                text=text,
                id_=f"id-{at}",
                metadata={"source": {"page": at}},
                excluded_embed_metadata_keys=["source"],
                relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"file-{at}")},
            ),
            score=_retrieved(at),
        )
        for at, text in enumerate(TEXTS)
    ]


def _texts(nodes: Sequence[NodeWithScore]) -> list[str]:
    return [one.node.get_content(MetadataMode.NONE) for one in nodes]
