"""llama.cpp's server with the bundled model as GGUF, whose template is the exact prompt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.engines.remote.protocol.dialects.llamacpp import LLAMACPP
from qwen3_ascend_retrievers.errors import AuthenticationError, TemplateMismatchError, TooLongError
from support.adapter_checks import KINDS
from support.extended_servers import KEY, MAX_LENGTH, llama_server, write_gguf
from support.local_scores import (
    CUSTOM,
    check_adapter,
    check_cut,
    check_scores,
    counted_by,
    local_counts,
    prompt_count,
)
from support.remote_rankings import DOCUMENTS, QUERY


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    """The address of the server."""
    write_gguf(folder / "tiny.gguf")
    with llama_server(folder, folder / "tiny.gguf") as url:
        yield url


@pytest.fixture
def engine(url: str, connect: Any) -> Any:
    """An engine that is told nothing but the key."""
    return connect(url, api_key=KEY)


def test_order_and_scores(engine: Any) -> None:
    check_scores(engine, [*DOCUMENTS, "word " * 2000])
    details = engine.facts().details
    assert details["dialect"] == "llamacpp: /v1/models says owned_by llamacpp"
    assert details["template"] == "by the server, by token counts; exactness not proven"
    assert details["max_length"] == "8,192 tokens, by the server"


def test_it_counts_whole_prompts(url: str, engine: Any) -> None:
    counted = counted_by(url, LLAMACPP, "tiny", KEY, DOCUMENTS)
    assert counted == prompt_count(DOCUMENTS)
    assert engine.facts().template_verified is False


def test_it_counts_texts(engine: Any) -> None:
    assert engine.facts().counting == "when_needed"
    counts = [len(encoding.ids) for encoding in engine.encode(DOCUMENTS)]
    assert counts == local_counts(DOCUMENTS)


def test_a_document_that_is_too_long(engine: Any) -> None:
    check_cut(engine, "word " * 2 * MAX_LENGTH)


def test_a_query_that_is_too_long(engine: Any) -> None:
    with pytest.raises(TooLongError, match=f"of the {MAX_LENGTH} that"):
        Reranker(engine).rank("word " * MAX_LENGTH, DOCUMENTS)


def test_an_instruction_cannot_reach_the_prompt(engine: Any) -> None:
    with pytest.raises(TemplateMismatchError, match="in its GGUF file, with a fixed instruction"):
        Reranker(engine, instruction=CUSTOM).rank(QUERY, DOCUMENTS)


def test_the_template_twice_is_refused(url: str, connect: Any) -> None:
    with pytest.raises(TemplateMismatchError, match="twice"):
        connect(url, api_key=KEY, template="client").facts()


def test_another_model(url: str, connect: Any) -> None:
    """The server has one model, and answers to any name."""
    check_scores(connect(url, model="another", api_key=KEY), DOCUMENTS)


@pytest.mark.parametrize("key", [None, "sk-wrong-0123456789"])
def test_a_wrong_key(url: str, connect: Any, key: str | None) -> None:
    with pytest.raises(AuthenticationError, match="QWEN3_RERANK_API_KEY"):
        connect(url, api_key=key).facts()


@KINDS
def test_an_adapter(url: str, kind: Any, call: Any) -> None:
    check_adapter(call, kind(base_url=url, api_key=KEY, top_n=None))
