"""Postprocessors with one fault each, and a sound one.

Run by tests/adapters/llama_index/test_conformance.py only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llama_index.core.callbacks import CallbackManager, CBEventType
from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode

from qwen3_ascend_retrievers.llama_index import Qwen3Rerank
from qwen3_ascend_retrievers.testing import PostprocessorConformance
from support.mutant_runs import suites

Nodes = list[NodeWithScore]


class _Changed(Qwen3Rerank):
    """Its results go through `change`, sync and async."""

    def change(self, nodes: Nodes, reranked: Nodes) -> Nodes:
        raise NotImplementedError

    def _postprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
        return self.change(nodes, super()._postprocess_nodes(nodes, query_bundle))

    async def _apostprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
        return self.change(nodes, await super()._apostprocess_nodes(nodes, query_bundle))


class NoOp(_Changed):
    def change(self, nodes: Nodes, reranked: Nodes) -> Nodes:
        return list(nodes)[: self.top_n]


class Reversed(_Changed):
    def change(self, nodes: Nodes, reranked: Nodes) -> Nodes:
        return reranked[::-1]


class DroppedId(_Changed):
    def change(self, nodes: Nodes, reranked: Nodes) -> Nodes:
        return [
            NodeWithScore(
                node=TextNode(
                    text=node.node.get_content(MetadataMode.NONE),
                    metadata=node.node.metadata,
                    relationships=node.node.relationships,
                ),
                score=node.score,
            )
            for node in reranked
        ]


class MutatedInput(_Changed):
    def change(self, nodes: Nodes, reranked: Nodes) -> Nodes:
        for node in nodes:
            node.score = 1.0
        return reranked


class WrongKey(_Changed):
    def change(self, nodes: Nodes, reranked: Nodes) -> Nodes:
        for node in reranked:
            if "retrieval_score" in node.node.metadata:
                node.node.metadata["relevance_score"] = node.score
                node.score = node.node.metadata.pop("retrieval_score")
        return reranked


class ScoreInTheText(_Changed):
    def change(self, nodes: Nodes, reranked: Nodes) -> Nodes:
        for node in reranked:
            node.node.excluded_llm_metadata_keys = ["source"]
        return reranked


class AsyncByThread(Qwen3Rerank):
    async def _apostprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
        return await asyncio.to_thread(self._postprocess_nodes, nodes, query_bundle)


class AsyncInOtherLoop(Qwen3Rerank):
    async def _apostprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
        call = super()._apostprocess_nodes(nodes, query_bundle)
        return await asyncio.to_thread(asyncio.run, call)


class LostCallbacks(Qwen3Rerank):
    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.callback_manager = CallbackManager()


class LostEvents(Qwen3Rerank):
    @contextmanager
    def _traced(self, nodes: Any, query: Any) -> Iterator[list[NodeWithScore]]:
        with self.callback_manager.event(CBEventType.RERANKING):
            yield []


MUTANTS = [
    NoOp,
    Reversed,
    DroppedId,
    MutatedInput,
    WrongKey,
    ScoreInTheText,
    AsyncByThread,
    AsyncInOtherLoop,
    LostCallbacks,
    LostEvents,
]
globals().update(suites(PostprocessorConformance, Qwen3Rerank, MUTANTS))
