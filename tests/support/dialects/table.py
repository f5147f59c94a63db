"""The fake of each dialect, and how the tests connect to it: a new dialect is a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from support.dialects import cohere
from support.dialects.llamacpp import LlamacppFake
from support.dialects.sglang import SglangFake
from support.dialects.tei import TeiFake
from support.rerank_answers import RerankAnswers, Setup


@dataclass(frozen=True, kw_only=True)
class FakeRow:
    """How a dialect is tested.

    Attributes:
        kind: the fake.
        templates: how it can be started: "exact" templates itself, "none" leaves it to the client.
        path: what base_url has after the address.
        settings: of RemoteEngine, where the dialect cannot be found or needs a name.
        scores_blank: whether it scores a blank text.
        checks_model: whether it refuses a wrong model's name.
        too_many: whether it refuses a number of documents.
        is_queue: whether that number is a queue's, which may have room again.
        states_documents: whether it says that number before it is exceeded.
        counts: whether its replies count the tokens of prompts.
    """

    kind: Callable[[Setup], RerankAnswers]
    templates: tuple[str, ...] = ("exact",)
    path: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    scores_blank: bool = True
    checks_model: bool = True
    too_many: bool = True
    is_queue: bool = False
    states_documents: bool = False
    counts: bool = True


FAKES = {
    "vllm": FakeRow(kind=RerankAnswers, templates=("exact", "none"), is_queue=True),
    "sglang": FakeRow(
        kind=SglangFake,
        templates=("exact", "none"),
        scores_blank=False,
        checks_model=False,
        is_queue=True,
        counts=False,
    ),
    "tei": FakeRow(
        kind=TeiFake, templates=("exact", "none"), checks_model=False, states_documents=True
    ),
    "llamacpp": FakeRow(
        kind=LlamacppFake, templates=("exact", "none"), checks_model=False, too_many=False
    ),
    "cohere": FakeRow(kind=cohere.CohereFake, templates=("exact", "none"), too_many=False),
    "gpustack": FakeRow(kind=cohere.GpustackFake, templates=("exact", "none"), too_many=False),
    "xinference": FakeRow(kind=cohere.XinferenceFake, too_many=False, counts=False),
    "dashscope": FakeRow(
        kind=cohere.DashscopeFake,
        path="/compatible-api/v1/reranks",
        settings={"dialect": "dashscope", "model": "tiny"},
        scores_blank=False,
        counts=False,
    ),
    "siliconflow": FakeRow(
        kind=cohere.SiliconflowFake,
        settings={"dialect": "siliconflow", "model": "tiny"},
        counts=False,
    ),
}
