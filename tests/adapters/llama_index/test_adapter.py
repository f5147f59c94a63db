"""The postprocessor's own behaviour: fields, metadata, prompts, events, written forms."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts import PromptTemplate
from llama_index.core.prompts.mixin import PromptMixin
from llama_index.core.schema import (
    Document,
    IndexNode,
    MetadataMode,
    NodeWithScore,
    QueryBundle,
    TextNode,
)
from pydantic import Field

from qwen3_ascend_retrievers.core.plan import Plan
from qwen3_ascend_retrievers.core.prompt import INSTRUCTIONS
from qwen3_ascend_retrievers.core.ranking import Score
from qwen3_ascend_retrievers.engines.base import Call
from qwen3_ascend_retrievers.errors import EngineError, InvalidInputError
from qwen3_ascend_retrievers.llama_index import Qwen3Rerank
from qwen3_ascend_retrievers.testing import FakeEngine
from support.odd_engines import Foreign, StuckEngine

KEY = "sk-very-secret"


def cats() -> list[NodeWithScore]:
    texts = {"1": "a dog", "2": "a cat", "3": "two cats"}
    return [
        NodeWithScore(node=TextNode(text=text, id_=at), score=0.5) for at, text in texts.items()
    ]


def rerank_of(**fields: Any) -> tuple[Qwen3Rerank, FakeEngine]:
    engine = FakeEngine({"two cats": 0.25})
    return Qwen3Rerank(engine=engine, **fields), engine


def test_the_bases_in_this_order() -> None:
    order = Qwen3Rerank.__mro__
    assert order.index(BaseNodePostprocessor) < order.index(PromptMixin)


def test_two_nodes_by_default() -> None:
    rerank, _ = rerank_of()
    results = rerank.postprocess_nodes(cats(), query_str="cat")
    assert [result.node.node_id for result in results] == ["2", "3"]


def test_missing_query_in_the_words_of_llama_index() -> None:
    rerank, _ = rerank_of()
    with pytest.raises(ValueError, match=r"^Missing query bundle in extra info\.") as no_query:
        rerank.postprocess_nodes(cats())
    assert "query_str=..." in str(no_query.value)


def test_a_node_without_a_score_is_answered_with_how_to_wrap_it() -> None:
    rerank, _ = rerank_of()
    with pytest.raises(
        InvalidInputError, match=r"not TextNode. Wrap it: NodeWithScore\(node=node\)"
    ):
        rerank.postprocess_nodes([TextNode(text="a")], query_str="cat")  # type: ignore[list-item]


@pytest.mark.parametrize("wrong", ["text", None, ["text"], [TextNode(text="a")]])
def test_what_is_no_list_of_nodes_is_refused(wrong: Any) -> None:
    rerank, engine = rerank_of()
    with pytest.raises(InvalidInputError, match="must be a"):
        rerank.postprocess_nodes(wrong, query_str="cat")
    assert engine.calls == []


def test_a_blank_query_is_refused() -> None:
    rerank, _ = rerank_of(on_error="keep_order")
    with pytest.raises(InvalidInputError, match="query is empty"):
        rerank.postprocess_nodes(cats(), query_str=" ")


@pytest.mark.parametrize(
    ("fields", "scored"),
    [
        ({}, "title: Cats\n\nbody"),
        ({"metadata_mode": "none"}, "body"),
        ({"metadata_mode": MetadataMode.ALL}, "title: Cats\nyear: 1999\n\nbody"),
    ],
)
def test_metadata_mode(fields: dict[str, Any], scored: str) -> None:
    node = TextNode(
        text="body",
        metadata={"title": "Cats", "year": 1999},
        excluded_embed_metadata_keys=["year"],
    )
    rerank, engine = rerank_of(**fields)
    rerank.postprocess_nodes([NodeWithScore(node=node)], query_str="cat")
    assert engine.calls == [("sync", (scored,))]


def test_other_nodes_and_a_missing_score() -> None:
    target = object()
    nodes = [
        NodeWithScore(node=IndexNode(text="a cat", index_id="i", obj=target)),
        NodeWithScore(node=Document(text="a cat", id_="d", embedding=[1.0, 2.0])),
    ]
    rerank, _ = rerank_of()
    first, second = rerank.postprocess_nodes(nodes, query_str="cat")
    assert isinstance(first.node, IndexNode)
    assert first.node.obj is target
    assert first.node.metadata == {}
    assert isinstance(second.node, Document)
    assert (second.node.node_id, second.node.embedding) == ("d", [1.0, 2.0])


def test_diagnostics_stay_out_of_the_texts() -> None:
    rerank, _ = rerank_of(diagnostics=True, top_n=1)
    nodes = cats()
    (result,) = rerank.postprocess_nodes(nodes, query_str="cat")
    assert result.node.metadata == {
        "retrieval_score": 0.5,
        "rerank_status": "reranked",
        "rerank_index": 1,
        "rerank_model": "fake",
        "rerank_span": [0, 5],
        "rerank_cut": "no",
        "rerank_windows": 1,
    }
    for mode in (MetadataMode.EMBED, MetadataMode.LLM):
        assert result.node.get_content(mode) == nodes[1].node.get_content(mode)


def test_keep_order_keeps_scores_and_texts() -> None:
    rerank = Qwen3Rerank(engine=FakeEngine(error=EngineError("x")), on_error="keep_order")
    results = rerank.postprocess_nodes(cats(), query_str="cat")
    assert [(result.node.node_id, result.score) for result in results] == [("1", 0.5), ("2", 0.5)]
    assert results[0].node.metadata == {"rerank_status": "kept_order"}
    assert results[0].node.get_content(MetadataMode.LLM) == "a dog"


async def test_direct_use() -> None:
    rerank, engine = rerank_of()
    documents = ["a dog", TextNode(text="a cat"), NodeWithScore(node=TextNode(text="cat"))]
    both = [rerank.rerank(documents, "cat"), await rerank.arerank(documents, "cat")]
    assert (
        both == [[{"index": 1, "relevance_score": 1.0}, {"index": 2, "relevance_score": 1.0}]] * 2
    )
    assert [how for how, _ in engine.calls] == ["sync", "async"]
    assert len(rerank.rerank(documents, "cat", top_n=None)) == 3
    with pytest.raises(InvalidInputError, match=r"documents\[0\] must be a str or a node"):
        rerank.rerank([3], "cat")


class Remembering(FakeEngine):
    """Keeps the instructions that it was asked with."""

    def __init__(self) -> None:
        super().__init__()
        self.instructions: list[str] = []

    def score(self, plan: Plan, call: Call) -> list[Score]:
        self.instructions += [query.instruction for query in plan.queries]
        return super().score(plan, call)


def test_the_instruction_is_a_prompt() -> None:
    engine = Remembering()
    rerank = Qwen3Rerank(engine=engine, instruction="code_search")
    prompt = rerank.get_prompts()["instruction"]
    assert prompt.get_template() == INSTRUCTIONS["code_search"]
    rerank.update_prompts(
        {"instruction": PromptTemplate('Find {what} like {"a": {}} }', what="code")}
    )
    rerank.postprocess_nodes(cats(), query_str="cat")
    assert engine.instructions == ['Find code like {"a": {}} }']
    again = rerank.get_prompts()["instruction"]
    rerank.update_prompts({"instruction": again, "other": PromptTemplate("x")})
    assert rerank.instruction == 'Find code like {"a": {}} }'


def test_an_empty_prompt_is_refused() -> None:
    rerank, _ = rerank_of()
    with pytest.raises(InvalidInputError, match="instruction must be a non-empty str"):
        rerank.update_prompts({"instruction": PromptTemplate(" ")})


class Events(BaseEventHandler):
    """Keeps the events of reranking."""

    events: list[Any] = Field(default_factory=list)

    def handle(self, event: Any, **_: Any) -> None:
        if isinstance(event, ReRankStartEvent | ReRankEndEvent):
            self.events.append(event)


@pytest.fixture
def events() -> Iterator[list[Any]]:
    root, handler = get_dispatcher(), Events()
    root.add_event_handler(handler)
    yield handler.events
    root.event_handlers = [other for other in root.event_handlers if other is not handler]


@pytest.mark.parametrize(
    ("fields", "top_n", "name"),
    [
        ({"engine": FakeEngine(model="m"), "top_n": None}, 3, "m"),
        ({"engine": FakeEngine(model="m")}, 2, "m"),
        ({"engine": FakeEngine(model="m"), "top_n": 9}, 9, "m"),
    ],
)
def test_start_event(fields: Any, top_n: int, name: str, events: list[Any]) -> None:
    Qwen3Rerank(**fields).postprocess_nodes(cats(), query_str="cat")
    assert (events[0].top_n, events[0].model_name, len(events)) == (top_n, name, 2)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, "Qwen/Qwen3-Reranker-0.6B"),
        ({"model": "tiny"}, "tiny"),
        ({"base_url": "http://npu:8000"}, "http://npu:8000"),
        ({"base_url": ["http://npu:8000", "http://npu:8001"]}, "http://npu:8000"),
        ({"base_url": "http://npu:8000", "model": "served"}, "served"),
    ],
)
def test_the_model_is_named_before_it_is_asked(fields: dict[str, Any], name: str) -> None:
    assert Qwen3Rerank(**fields)._model_name() == name


def test_a_query_refused_by_the_core_pairs_its_events(events: list[Any]) -> None:
    rerank, _ = rerank_of()
    with pytest.raises(InvalidInputError):
        rerank.postprocess_nodes(cats(), query_str="")
    assert [type(event) for event in events] == [ReRankStartEvent, ReRankEndEvent]


async def test_a_cancelled_call_pairs_its_events(events: list[Any]) -> None:
    engine = StuckEngine()
    rerank = Qwen3Rerank(engine=engine)
    task = asyncio.create_task(rerank.apostprocess_nodes(cats(), QueryBundle("cat")))
    await engine.waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [type(event) for event in events] == [ReRankStartEvent, ReRankEndEvent]


SETTINGS: dict[str, Any] = {
    "top_n": None,
    "instruction": "Find {braces}",
    "score_threshold": 0.0,
    "overflow": "window",
    "on_error": "keep_order",
    "max_length": 512,
    "metadata_mode": MetadataMode.LLM,
}
WAYS = {
    "to_dict": lambda rerank: Qwen3Rerank.from_dict(rerank.to_dict()),
    "to_json": lambda rerank: Qwen3Rerank.from_json(rerank.to_json()),
    "pickle": lambda rerank: pickle.loads(pickle.dumps(rerank)),
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("way", WAYS)
def test_settings_come_back(way: str) -> None:
    for more in ({"base_url": "http://npu:8000", "model": "m"}, {"model": "tiny"}, {}):
        rerank = Qwen3Rerank(**SETTINGS, **more)
        again = WAYS[way](rerank)
        assert again.to_dict() == rerank.to_dict()
        assert again.metadata_mode is MetadataMode.LLM


@pytest.mark.parametrize("way", WAYS)
def test_an_engine_of_ours_comes_back(way: str) -> None:
    rerank = Qwen3Rerank(engine=FakeEngine({"a dog": 0.75}))
    again = WAYS[way](rerank)
    assert again.engine is not rerank.engine
    assert again.postprocess_nodes(cats(), query_str="q")[0].score == 0.75


@pytest.mark.parametrize("way", WAYS)
def test_the_key_is_left_out(way: str) -> None:
    again = WAYS[way](Qwen3Rerank(base_url="http://npu:8000", api_key=KEY))
    assert (again.base_url, again.api_key) == ("http://npu:8000", None)


def test_the_key_is_nowhere_to_be_read() -> None:
    rerank = Qwen3Rerank(base_url="http://npu:8000", api_key=KEY)
    rerank._engine()
    assert rerank.api_key is not None
    outputs = [repr(rerank), str(rerank), str(rerank.to_dict()), rerank.to_json()]
    outputs += [str(rerank.model_dump()), str(pickle.dumps(rerank)), repr(vars(rerank))]
    assert not [text for text in outputs if KEY in text]
    assert "*" not in rerank.to_json()


def test_written_form() -> None:
    settings = Qwen3Rerank(engine=FakeEngine()).to_dict()
    assert (settings["class_name"], Qwen3Rerank.class_name()) == ("Qwen3Rerank", "Qwen3Rerank")
    assert json.loads(json.dumps(settings)) == settings


def test_a_foreign_engine_cannot_be_written_down() -> None:
    rerank = Qwen3Rerank(engine=Foreign({"a dog": 0.5}))
    assert rerank.postprocess_nodes(cats(), query_str="q")[0].score == 0.5
    for write in (rerank.to_dict, rerank.to_json):
        with pytest.raises(InvalidInputError, match="foreign class Foreign"):
            write()
