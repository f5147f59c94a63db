"""A node without text is not scored: it follows the scored nodes, marked."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from llama_index.core.schema import (
    BaseNode,
    ImageNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeWithScore,
    QueryBundle,
    TextNode,
)

from qwen3_ascend_retrievers.errors import EngineError
from qwen3_ascend_retrievers.llama_index import Qwen3Rerank
from qwen3_ascend_retrievers.testing import FakeEngine

QUERY = "cat"
# What a reader of folders gives an image.
IMAGE = ImageNode(id_="image", image_url="http://127.0.0.1/cat.png", metadata={"path": "/cat.png"})
RESOURCE = Node(id_="resource", image_resource=MediaResource(data=b"aGk=", mimetype="image/png"))


def retrieved(*nodes: BaseNode) -> list[NodeWithScore]:
    return [NodeWithScore(node=node, score=0.9 - at / 10) for at, node in enumerate(nodes)]


NODES = (
    IMAGE,
    TextNode(text="a dog", id_="dog"),
    TextNode(text=" \n", id_="blank"),
    TextNode(text="a cat", id_="cat"),
    RESOURCE,
    ImageNode(
        text="a cat's picture, in a frame", id_="caption", image_url="http://127.0.0.1/2.png"
    ),
)


def postprocessed(rerank: Qwen3Rerank, nodes: list[NodeWithScore], is_async: bool) -> Any:
    if is_async:
        return asyncio.run(rerank.apostprocess_nodes(nodes, QueryBundle(QUERY)))
    return rerank.postprocess_nodes(nodes, QueryBundle(QUERY))


@pytest.mark.parametrize("is_async", [False, True])
def test_they_follow_in_the_retriever_s_order_with_its_scores(
    is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    engine = FakeEngine()
    nodes = retrieved(*NODES)
    # A threshold is for scores, and these have none.
    rerank = Qwen3Rerank(engine=engine, top_n=None, score_threshold=0.5)
    kept = postprocessed(rerank, nodes, is_async)
    places = [node.node.node_id for node in kept]
    assert places == ["cat", "caption", "image", "blank", "resource"]
    assert [node.score for node in kept[2:]] == pytest.approx([0.9, 0.7, 0.5])
    for node in kept[2:]:
        assert node.node.metadata["rerank_status"] == "not_scored"
        for mode in (MetadataMode.LLM, MetadataMode.EMBED):
            assert "not_scored" not in node.node.get_content(mode)
    for node in kept[:2]:
        assert "rerank_status" not in node.node.metadata
    ((_, texts),) = engine.calls
    assert texts == ("a dog", "a cat", "a cat's picture, in a frame")
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert "3 of 6 documents have no text and are not scored" in warning.getMessage()
    assert "rerank_status" not in IMAGE.metadata


def test_top_n_counts_them_after_the_scored() -> None:
    rerank = Qwen3Rerank(engine=FakeEngine(), top_n=4, diagnostics=True)
    kept = rerank.postprocess_nodes(retrieved(*NODES), QueryBundle(QUERY))
    assert [node.node.node_id for node in kept] == ["cat", "caption", "dog", "image"]
    assert [node.node.metadata["rerank_index"] for node in kept] == [3, 5, 1, 0]


def test_nothing_but_images_asks_no_engine() -> None:
    engine = FakeEngine()
    rerank = Qwen3Rerank(engine=engine)
    kept = rerank.postprocess_nodes(retrieved(IMAGE, RESOURCE), QueryBundle(QUERY))
    assert [node.node.node_id for node in kept] == ["image", "resource"]
    assert {node.node.metadata["rerank_status"] for node in kept} == {"not_scored"}
    assert engine.calls == []


def test_a_kept_order_keeps_their_places_too() -> None:
    rerank = Qwen3Rerank(
        engine=FakeEngine(error=EngineError("down")), on_error="keep_order", top_n=4
    )
    kept = rerank.postprocess_nodes(retrieved(*NODES), QueryBundle(QUERY))
    assert [node.node.node_id for node in kept] == ["image", "dog", "blank", "cat"]
    assert {node.node.metadata["rerank_status"] for node in kept} == {"kept_order"}


@pytest.mark.parametrize("is_async", [False, True])
def test_direct_use(is_async: bool) -> None:
    rerank = Qwen3Rerank(engine=FakeEngine(), top_n=None)
    documents = [IMAGE, "a cat", *retrieved(RESOURCE), "a dog"]
    if is_async:
        rows = asyncio.run(rerank.arerank(documents, QUERY))
    else:
        rows = rerank.rerank(documents, QUERY)
    assert rows == [
        {"index": 1, "relevance_score": 1.0},
        {"index": 3, "relevance_score": 0.0},
        {"index": 0, "relevance_score": None, "rerank_status": "not_scored"},
        {"index": 2, "relevance_score": None, "rerank_status": "not_scored"},
    ]
