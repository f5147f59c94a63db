"""Nodes without text are not scored: they follow those that are, and say so."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from llama_index.core.schema import (
    BaseNode,
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeWithScore,
    QueryBundle,
    TextNode,
)

from qwen3_ascend_retrievers.core.plan import Plan
from qwen3_ascend_retrievers.core.ranking import PassageScore, Unscored
from qwen3_ascend_retrievers.engines.base import Call
from qwen3_ascend_retrievers.errors import EngineError, TooLongError
from qwen3_ascend_retrievers.llama_index import Qwen3Rerank
from qwen3_ascend_retrievers.testing import FakeEngine

IMAGE = MediaResource(data=b"pixels", mimetype="image/png")
WITHOUT_TEXT: dict[str, BaseNode] = {
    "image": ImageNode(image="aGk="),
    "path": ImageNode(image_path="cat.png", metadata={"file_path": "cat.png"}),
    "resource": Node(image_resource=IMAGE),
    "empty resource": Node(
        text_resource=MediaResource(text=""), image_resource=IMAGE, metadata={"file_path": "x"}
    ),
    "audio": Node(audio_resource=MediaResource(data=b"sound")),
    "video": Node(video_resource=MediaResource(data=b"film")),
    "empty": TextNode(text=""),
    "blank": TextNode(text=" \n\u3000"),
    "index": IndexNode(text="", index_id="i"),
    "nothing": Node(),
}
WITH_TEXT: dict[str, tuple[BaseNode, str]] = {
    "image and text": (ImageNode(text="a cat", image="aGk="), "a cat"),
    "resources": (Node(text_resource=MediaResource(text="cat"), image_resource=IMAGE), "cat"),
    "metadata": (TextNode(text="", metadata={"title": "Cats"}), "title: Cats"),
}


def retrieved(*texts: str) -> list[NodeWithScore]:
    """Nodes named by place, an image for each empty text, with falling scores."""
    return [
        NodeWithScore(
            node=TextNode(text=text, id_=str(at)) if text else ImageNode(image="aGk=", id_=str(at)),
            score=1 - at / 8,
        )
        for at, text in enumerate(texts)
    ]


def places(nodes: list[NodeWithScore]) -> list[int]:
    return [int(result.node.node_id) for result in nodes]


def status(nodes: list[NodeWithScore]) -> list[Any]:
    return [result.node.metadata.get("rerank_status") for result in nodes]


async def both_ways(rerank: Qwen3Rerank, nodes: list[NodeWithScore]) -> list[NodeWithScore]:
    """What the awaited call returns, which the other must return too."""
    awaited = await rerank.apostprocess_nodes(nodes, QueryBundle("cat"))
    assert rerank.postprocess_nodes(nodes, QueryBundle("cat")) == awaited
    return awaited


@pytest.mark.parametrize("kind", WITHOUT_TEXT)
async def test_a_node_without_text_follows_unscored(kind: str) -> None:
    node = WITHOUT_TEXT[kind]
    nodes = [NodeWithScore(node=node, score=0.75), *retrieved("a dog", "a cat")]
    engine = FakeEngine()
    results = await both_ways(Qwen3Rerank(engine=engine, top_n=None), nodes)
    assert [text for _, text in engine.calls] == [("a dog", "a cat")] * 2
    assert [result.score for result in results] == [1.0, 0.0, 0.75]
    last = results[2].node
    assert last.node_id == node.node_id
    assert last.metadata == {**node.metadata, "rerank_status": "not_scored"}
    assert "rerank_status" not in node.metadata
    for mode in (MetadataMode.EMBED, MetadataMode.LLM):
        assert last.get_content(mode) == node.get_content(mode)


@pytest.mark.parametrize("kind", WITH_TEXT)
async def test_what_has_a_text_is_scored_by_it(kind: str) -> None:
    node, text = WITH_TEXT[kind]
    engine = FakeEngine({text: 0.5})
    (result,) = await both_ways(Qwen3Rerank(engine=engine), [NodeWithScore(node=node, score=0.1)])
    assert (result.score, result.node.metadata.get("rerank_status")) == (0.5, None)
    assert {texts for _, texts in engine.calls} == {(text,)}


async def test_several_keep_the_retriever_s_order_and_are_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rerank = Qwen3Rerank(engine=FakeEngine(), top_n=None)
    nodes = retrieved("", "a dog", "", "a cat", "")
    with caplog.at_level(logging.DEBUG, "qwen3_ascend_retrievers"):
        results = await rerank.apostprocess_nodes(nodes, QueryBundle("cat"))
    assert places(results) == [3, 1, 0, 2, 4]
    assert [result.score for result in results] == [1.0, 0.0, 1.0, 0.75, 0.5]
    assert status(results) == [None, None] + ["not_scored"] * 3
    assert [record.getMessage() for record in caplog.records] == [
        "3 of 5 documents have no text and are not scored; the first is documents[0]."
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"top_n": 1}, [3]),
        ({"top_n": 3}, [3, 1, 0]),
        ({"top_n": None, "score_threshold": 0.5}, [3, 0, 2]),
        ({"top_n": 2, "score_threshold": 0.5}, [3, 0]),
    ],
)
async def test_they_count_for_top_n_and_have_no_score_to_be_below_a_threshold(
    fields: dict[str, Any], expected: list[int]
) -> None:
    rerank = Qwen3Rerank(engine=FakeEngine(), **fields)
    assert places(await both_ways(rerank, retrieved("", "a dog", "", "a cat"))) == expected


async def test_nothing_but_images_make_no_call() -> None:
    engine = FakeEngine(error=EngineError("asked"))
    results = await both_ways(Qwen3Rerank(engine=engine, top_n=2), retrieved("", "", ""))
    assert (places(results), status(results)) == ([0, 1], ["not_scored"] * 2)
    assert engine.calls == []


class Refusing(FakeEngine):
    """Cannot score birds."""

    def score(self, plan: Plan, call: Call) -> list[PassageScore]:
        refused = Unscored(EngineError("no birds"))
        scores = super().score(plan, call)
        return [
            refused if "bird" in passage.text else score
            for passage, score in zip(plan.passages, scores, strict=True)
        ]


def test_they_stand_among_refused_texts_in_the_retriever_s_order() -> None:
    rerank = Qwen3Rerank(engine=Refusing(), top_n=4)
    nodes = retrieved("", "bird one", "a cat", "", "bird two")
    results = rerank.postprocess_nodes(nodes, QueryBundle("cat"))
    assert places(results) == [2, 0, 1, 3]
    assert status(results) == [None] + ["not_scored"] * 3


async def test_a_kept_order_is_the_order_of_all() -> None:
    engine = FakeEngine(error=EngineError("out of order"))
    rerank = Qwen3Rerank(engine=engine, on_error="keep_order", top_n=3)
    results = await both_ways(rerank, retrieved("a dog", "", "a cat", ""))
    assert (places(results), status(results)) == ([0, 1, 2], ["kept_order"] * 3)


async def test_direct_use_and_diagnostics_say_positions_in_the_input() -> None:
    rerank = Qwen3Rerank(engine=FakeEngine(), diagnostics=True)
    documents = ["", *retrieved("", "a cat")]
    rows = rerank.rerank(documents, "cat", top_n=None)
    assert rows == await rerank.arerank(documents, "cat", top_n=None)
    # An empty str is a text that the caller wrote, and scored as such.
    assert [(row["index"], row["relevance_score"], row["rerank_status"]) for row in rows] == [
        (2, 1.0, "reranked"),
        (0, 0.0, "reranked"),
        (1, None, "not_scored"),
    ]
    assert [row["rerank_index"] for row in rows] == [2, 0, 1]


async def test_an_error_names_the_position_in_the_input() -> None:
    rerank = Qwen3Rerank(engine=FakeEngine(max_length=200), overflow="error")
    nodes = retrieved("", "a cat", "", "word " * 400)
    with pytest.raises(TooLongError, match=r"^documents\[3\] does not fit") as blocking:
        rerank.rerank(nodes, "cat")
    with pytest.raises(TooLongError, match=r"^documents\[3\] does not fit") as awaited:
        await rerank.arerank(nodes, "cat")
    assert blocking.value.index == awaited.value.index == 3
    with pytest.raises(TooLongError, match="The query") as query_too_long:
        rerank.rerank(nodes, "cat " * 400)
    assert query_too_long.value.index is None
