"""How a server's dialect is found: in few requests, by what it says; a name and a route insist."""

from __future__ import annotations

from typing import Any

import pytest

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.core.steps import drive
from qwen3_ascend_retrievers.engines.remote.protocol.dialects.table import DIALECTS
from qwen3_ascend_retrievers.engines.remote.protocol.discovery import discovery_steps
from qwen3_ascend_retrievers.errors import (
    InvalidInputError,
    ScoreError,
    StatusError,
    TemplateMismatchError,
)
from support.dialects.cohere import CohereFake, InfinityFake
from support.dialects.llamacpp import LlamacppFake
from support.dialects.sglang import SglangFake
from support.dialects.tei import TeiFake
from support.remote_rankings import DOCUMENTS, QUERY, check_ranking
from support.rerank_answers import RerankAnswers, Setup, tokens_of

PLAIN = tuple(text for text in DOCUMENTS if text.strip())


def test_first_contact_costs_vllm_no_more_than_before(serve: Any, connect: Any) -> None:
    server = serve(Setup())
    connect(server.url).facts()
    paths = server.paths()
    # The models, ten texts' tokens, two classifications, two counts, two scores, a reference.
    expected = {"/v1/models": 1, "/tokenize": 10, "/classify": 2, "/v1/rerank": 5}
    assert {path: paths.count(path) for path in set(paths)} == expected


@pytest.mark.parametrize(
    ("name", "extra"), [("sglang", 1), ("llamacpp", 1), ("tei", 1), ("cohere", 2), ("gpustack", 0)]
)
def test_finding_a_dialect_costs_a_request_or_two(start: Any, name: str, extra: int) -> None:
    server, engine = start(name, "exact")
    engine.facts()
    named_server, named = start(name, "exact", dialect=name)
    named.facts()
    details = sum(path in ("/model_info", "/props", "/info") for path in named_server.paths())
    assert len(server.requests) - len(named_server.requests) + details == extra + (name == "tei")


@pytest.mark.parametrize("route", ["/rerank", "/v2/rerank", "/v1/rerank", "/v1/rerank/"])
def test_a_route_is_taken_as_typed(serve: Any, connect: Any, route: str) -> None:
    server = serve(Setup(template="exact"), kind=CohereFake)
    engine = connect(server.url + route)
    check_ranking(Reranker(engine).rank(QUERY, PLAIN), documents=PLAIN)
    typed = route.rstrip("/")
    assert {path for path in server.paths() if "rerank" in path} == {typed}
    assert engine.config()["base_url"] == server.url + typed
    assert engine.facts().details["route"] == f"{typed}, texts"


def test_a_prefix_that_is_called_like_a_route_is_no_route(connect: Any) -> None:
    written = connect("http://gateway/rerank/v1").config()["base_url"]
    assert written == "http://gateway/rerank/v1"
    assert connect(written).config()["base_url"] == written


def test_a_missing_route_leads_to_the_next(serve: Any, connect: Any) -> None:
    class Second(CohereFake):
        def routes(self) -> Any:
            return {"/v2/rerank": self.rerank, "/v1/models": self.models}

    server = serve(Setup(template="exact"), kind=Second)
    engine = connect(server.url)
    check_ranking(Reranker(engine).rank(QUERY, PLAIN), documents=PLAIN)
    assert engine.facts().details["route"] == "/v2/rerank, texts"


def test_a_server_of_no_dialect_is_an_error_that_lists_them(serve: Any, connect: Any) -> None:
    class Nothing(CohereFake):
        def routes(self) -> Any:
            return {"/v1/models": self.models}

    with pytest.raises(StatusError) as caught:
        connect(serve(kind=Nothing).url, max_retries=0).facts()
    for name in DIALECTS:
        assert name in str(caught.value)
    for wrong in ("ollama", ["vllm"], None, 3):
        with pytest.raises(
            InvalidInputError, match=r"dialect must be auto, vllm, sglang, .*, not "
        ):
            connect("http://npu:8000", dialect=wrong)


def test_infinity_cannot_be_exact_and_says_so(serve: Any, connect: Any) -> None:
    server = serve(kind=InfinityFake)
    with pytest.raises(TemplateMismatchError, match="cuts white space off"):
        connect(server.url).facts()
    with pytest.raises(TemplateMismatchError, match="cuts white space off"):
        connect(server.url, template="client").facts()
    assert connect(server.url, template="none").facts().templated is False
    # A checkpoint whose tokenizer builds the prompt is the user's word.
    assert connect(server.url, template="server").facts().template_verified is None


def test_a_vendor_needs_the_model_s_name(start: Any) -> None:
    _, engine = start("dashscope", "exact", model=None)
    with pytest.raises(InvalidInputError, match="needs the model's name: set model="):
        engine.facts()


def test_a_vendor_is_known_by_its_host(connect: Any) -> None:
    def nothing(question: Any) -> Any:
        raise AssertionError(question)

    for host, name in (
        ("dashscope.aliyuncs.com", "dashscope"),
        ("dashscope-intl.aliyuncs.com", "dashscope"),
        ("api.siliconflow.cn", "siliconflow"),
    ):
        found = drive(discovery_steps("auto", host), nothing)
        assert (found.dialect.name, found.reason) == (name, f"{host} is its host")


def test_an_sglang_that_does_not_describe_itself_must_be_told_of(serve: Any, connect: Any) -> None:
    class Silent(SglangFake):
        def routes(self) -> Any:
            return {path: route for path, route in super().routes().items() if "info" not in path}

    server = serve(Setup(template="exact"), kind=Silent)
    with pytest.raises(TemplateMismatchError, match="Say it: template='client'"):
        connect(server.url).facts()
    engine = connect(server.url, template="server")
    check_ranking(Reranker(engine).rank(QUERY, PLAIN), documents=PLAIN)


def test_a_vllm_whose_owner_is_hidden_is_known_by_its_maximum(serve: Any, connect: Any) -> None:
    class Hidden(RerankAnswers):
        def models(self, body: Any) -> Any:
            reply = super().models(body)
            for card in reply["data"]:
                card["owned_by"] = "gateway"
            return reply

    engine = connect(serve(kind=Hidden).url)
    assert engine.facts().details["dialect"] == "vllm: /v1/models says max_model_len"


def test_llama_cpp_s_number_for_a_failure_is_no_score(serve: Any, connect: Any) -> None:
    class Failing(LlamacppFake):
        def rerank(self, body: Any) -> Any:
            reply = super().rerank(body)
            reply["results"][-1]["relevance_score"] = -1_000_000.0
            return reply

    with pytest.raises(ScoreError, match=r"-1000000.0 is no probability.*scores='logit'"):
        connect(serve(Setup(template="exact"), kind=Failing).url).facts()


@pytest.mark.parametrize(("name", "source"), [("llamacpp", "server"), ("dashscope", "dialect")])
def test_a_maximum_says_whose_it_is(start: Any, name: str, source: str) -> None:
    _, engine = start(name, "exact")
    assert engine.facts().details["max_length"].endswith(f" tokens, by the {source}")


def test_a_server_that_has_no_reranker_says_so(serve: Any, connect: Any) -> None:
    class Embedder(TeiFake):
        model_type = "embedding"

    with pytest.raises(StatusError, match="no reranker but embedding"):
        connect(serve(kind=Embedder).url).facts()


def test_a_named_dialect_is_not_misled_by_a_gateway_s_estimates(serve: Any, connect: Any) -> None:
    class Estimating(CohereFake):
        """new-api in front of Xinference: the server templates, the gateway counts the texts."""

        def counts(self, scored: Any) -> Any:
            total = sum(len(tokens_of(document.text)) for document in scored)
            return {"usage": {"total_tokens": total}}

    server = serve(Setup(template="exact"), kind=Estimating)
    engine = connect(server.url, dialect="xinference")
    check_ranking(Reranker(engine).rank(QUERY, PLAIN), documents=PLAIN)
    assert engine.facts().template_verified is None
