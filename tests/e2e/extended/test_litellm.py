"""LiteLLM's proxy in front of vLLM, which has the template or leaves it to the client."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.engines.remote.protocol.dialects.cohere import COHERE
from qwen3_ascend_retrievers.errors import AuthenticationError, StatusError, TooLongError
from support.adapter_checks import KINDS
from support.extended_servers import KEY, environment, litellm_proxy
from support.local_scores import (
    CUSTOM,
    check_adapter,
    check_cut,
    check_scores,
    counted_by,
    prompt_count,
)
from support.remote_rankings import DOCUMENTS
from support.vllm_server import template_text, vllm_server

VLLM_KEY = "sk-vllm-0123456789"
MODEL = "reranker"
# vLLM's own maximum is 2,048 tokens here.
LONG = "The capital of China is Beijing. " * 500


@dataclass(frozen=True)
class Proxy:
    """A proxy's address, and who templates behind it."""

    url: str
    template: str


@pytest.fixture(scope="module", params=["server", "client"])
def proxy(request: pytest.FixtureRequest, folder: Path) -> Iterator[Proxy]:
    """The proxy with a key of its own; it alone knows vLLM's."""
    environment(".venv-extended-litellm")
    python = environment(".venv-vllm") / "bin/python"
    arguments = ["--served-model-name", "tiny", "--api-key", VLLM_KEY]
    if request.param == "server":
        template = folder / "template.jinja"
        template.write_text(template_text(3), "utf-8")
        arguments += ["--chat-template", str(template)]
    with (
        vllm_server(folder / "vllm.log", *arguments, python=str(python)) as vllm,
        litellm_proxy(folder, vllm, VLLM_KEY) as url,
    ):
        yield Proxy(url, request.param)


@pytest.fixture
def engine(proxy: Proxy, connect: Any) -> Any:
    """An engine that is told nothing but the model and the key."""
    return connect(proxy.url, model=MODEL, api_key=KEY)


def test_order_and_scores(proxy: Proxy, engine: Any) -> None:
    check_scores(engine, DOCUMENTS)
    details = engine.facts().details
    assert details["dialect"] == "cohere: no route of another dialect answers"
    owner = "the server" if proxy.template == "server" else "this side"
    assert details["template"] == f"by {owner}, by token counts; exactness not proven"


def test_an_instruction_reaches_the_prompt(engine: Any) -> None:
    check_scores(engine, DOCUMENTS, CUSTOM)


def test_it_counts_whole_prompts(proxy: Proxy, engine: Any) -> None:
    counted = counted_by(proxy.url, COHERE, MODEL, KEY, DOCUMENTS)
    if proxy.template == "server":
        assert counted == prompt_count(DOCUMENTS)
    else:
        assert 0 < counted < prompt_count(DOCUMENTS) / 2
    assert engine.facts().template_verified is False


def test_a_document_that_is_too_long(engine: Any) -> None:
    check_cut(engine, LONG)
    assert engine.facts().max_length == 2048


def test_a_query_that_is_too_long(engine: Any) -> None:
    with pytest.raises(TooLongError, match=r"even when cut.*or the query"):
        Reranker(engine).rank(LONG, DOCUMENTS)


def test_another_model(proxy: Proxy, connect: Any) -> None:
    engine = connect(proxy.url, model="another", api_key=KEY)
    with pytest.raises(StatusError, match=r"set model=\.\.\. .* has: 'reranker'"):
        engine.facts()


def test_a_wrong_key(proxy: Proxy, connect: Any) -> None:
    engine = connect(proxy.url, model=MODEL, api_key="sk-wrong-0123456789")
    with pytest.raises(AuthenticationError, match="QWEN3_RERANK_API_KEY"):
        engine.facts()


@KINDS
def test_an_adapter(proxy: Proxy, kind: Any, call: Any) -> None:
    check_adapter(call, kind(base_url=proxy.url, model=MODEL, api_key=KEY, top_n=None))
