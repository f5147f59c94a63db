"""Infinity with the converted model: as it is, and with a tokenizer that builds the prompt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.engines.remote.protocol.dialects.cohere import INFINITY
from qwen3_ascend_retrievers.errors import AuthenticationError, TemplateMismatchError
from support.adapter_checks import KINDS
from support.cli_runs import invoke
from support.extended_servers import KEY, environment, infinity_server
from support.local_scores import (
    CUSTOM,
    check_adapter,
    check_cut,
    check_scores,
    counted_by,
    local_scores,
)
from support.remote_rankings import DOCUMENTS, QUERY
from support.templated_checkpoint import write_templated

# White space at both ends is cut off, and an empty text loses its space.
WHOLE = tuple(text for text in DOCUMENTS if text and text == text.strip())


@pytest.fixture(scope="module")
def converted(folder: Path) -> Path:
    """The model as Qwen3ForSequenceClassification."""
    environment(".venv-extended-infinity")
    target = folder / "converted"
    assert invoke("convert", "tiny", str(target)).exit_code == 0
    return target


@pytest.fixture(scope="module")
def bare(folder: Path, converted: Path) -> Iterator[str]:
    """The address of a server that makes pairs of texts and nothing else."""
    with infinity_server(folder, converted) as url:
        yield url


@pytest.fixture(scope="module")
def templated(folder: Path, converted: Path) -> Iterator[str]:
    """The address of a server whose tokenizer builds the prompt."""
    target = folder / "templated"
    write_templated(converted, target)
    with infinity_server(folder, target) as url:
        yield url


class TestBare:
    """No template is exact here: the server cuts off white space that belongs to the prompt."""

    @pytest.mark.parametrize("template", ["auto", "client"])
    def test_it_is_refused(self, bare: str, connect: Any, template: Any) -> None:
        with pytest.raises(TemplateMismatchError, match="cuts white space off"):
            connect(bare, api_key=KEY, template=template).facts()

    @pytest.mark.parametrize("key", [None, "sk-wrong-0123456789"])
    def test_a_wrong_key(self, bare: str, connect: Any, key: str | None) -> None:
        with pytest.raises(AuthenticationError, match="QWEN3_RERANK_API_KEY"):
            connect(bare, api_key=key).facts()


class TestTemplated:
    """Nothing shows who templates, so it must be said."""

    @pytest.fixture
    def engine(self, templated: str, connect: Any) -> Any:
        return connect(templated, api_key=KEY, template="server")

    def test_order_and_scores(self, engine: Any) -> None:
        check_scores(engine, [*WHOLE, "word " * 1999 + "word"])
        facts = engine.facts()
        assert facts.details["dialect"] == "infinity: /v1/models says owned_by infinity"
        assert facts.details["template"].startswith("by the server, as it was said")
        assert facts.template_verified is None

    def test_auto_is_refused(self, templated: str, connect: Any) -> None:
        with pytest.raises(TemplateMismatchError, match="cuts white space off"):
            connect(templated, api_key=KEY).facts()

    def test_it_counts_characters(self, templated: str, engine: Any) -> None:
        counted = counted_by(templated, INFINITY, "tiny", KEY, WHOLE)
        assert counted == sum(len(QUERY) + len(text) for text in WHOLE)
        assert engine.facts().counting == "never"

    def test_an_empty_document(self, engine: Any) -> None:
        (result,) = Reranker(engine).rank(QUERY, [""]).results
        assert result.score == pytest.approx(*local_scores(("",)), abs=2e-3)

    def test_a_document_that_is_too_long(self, engine: Any) -> None:
        """It refuses so many characters; of fewer it cuts off tokens, and keeps the template."""
        check_cut(engine, "word " * 40_000)

    def test_an_instruction_cannot_reach_the_prompt(self, engine: Any) -> None:
        with pytest.raises(TemplateMismatchError, match="custom instruction would have no effect"):
            Reranker(engine, instruction=CUSTOM).rank(QUERY, WHOLE)

    def test_another_model(self, templated: str, connect: Any) -> None:
        """The server has one model, and answers to any name."""
        engine = connect(templated, model="another", api_key=KEY, template="server")
        check_scores(engine, WHOLE)

    @KINDS
    def test_an_adapter(self, templated: str, kind: Any, call: Any) -> None:
        options = {"template": "server"}
        check_adapter(
            call, kind(base_url=templated, api_key=KEY, engine_options=options, top_n=None)
        )
