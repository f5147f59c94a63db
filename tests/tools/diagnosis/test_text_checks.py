"""What doctor says of a server's other clients, and of a template that cannot be proven."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from qwen3_ascend_retrievers import RemoteEngine, Reranker
from qwen3_ascend_retrievers.tools.diagnosis import Finding, check_texts
from support.dialects.table import FAKES
from support.doctor_runs import examine
from support.rerank_answers import Setup, hash_logit, tokenizer_of
from support.rerank_server import RerankServer


def saturated(ids: Sequence[int]) -> float:
    """Logits whose probabilities show no lost newline, but for the canaries' document of code."""
    is_code = "def f(x)" in tokenizer_of().decode(list(ids))
    return hash_logit(ids) if is_code else 20.0 + hash_logit(ids) / 100


def texts_to(setup: Setup, name: str = "vllm", **settings: Any) -> dict[str, Finding]:
    """The findings on what clients get that send texts to a server of a dialect."""
    row = FAKES[name]
    with ExitStack() as stack:
        server = stack.enter_context(RerankServer(setup, kind=row.kind))
        url = server.url + row.path

        def engine(**more: Any) -> RemoteEngine:
            return stack.enter_context(RemoteEngine(url, **(row.settings | settings | more)))

        by_texts, bare = engine(protocol="rerank"), engine(protocol="rerank", template="none")
        findings = check_texts(Reranker(engine()), by_texts, Reranker(bare))
    assert all(finding.remedy for finding in findings if finding.colour != "green")
    return {finding.name: finding for finding in findings}


def test_a_template_with_one_newline_too_few_is_told_by_its_scores() -> None:
    (finding,) = texts_to(Setup(template="official")).values()
    assert (finding.name, finding.colour) == ("texts to /v1/rerank", "red")
    assert "ends in one newline too few" in finding.message
    assert "three newlines" in str(finding.remedy)
    measured = finding.measured
    assert measured["relevant score"] != measured["relevant score of the exact prompt"]


def test_another_template_is_not_called_short_of_a_newline() -> None:
    class Swapped(FAKES["vllm"].kind):  # type: ignore[name-defined,misc]
        """Yes and no are swapped in its template, in which each is one token."""

        def _prompt(self, body: Any, document: str) -> str:
            prompt = str(super()._prompt(body, document))
            return prompt.replace('"yes" or "no"', '"no" or "yes"')

    with RerankServer(Setup(template="exact"), kind=Swapped) as server:
        engines = [
            RemoteEngine(server.url, **settings)
            for settings in ({}, {"protocol": "rerank"}, {"protocol": "rerank", "template": "none"})
        ]
        exact, by_texts, bare = engines
        (finding,) = check_texts(Reranker(exact), by_texts, Reranker(bare))
        for engine in engines:
            engine.close()
    assert finding.colour == "red"
    assert "newline too few" not in finding.message
    assert "other scores" in finding.message


def test_scores_that_show_no_newline_are_no_proof_of_one() -> None:
    (finding,) = texts_to(Setup(template="official", scorer=saturated)).values()
    assert (finding.colour, "newline too few" in finding.message) == ("red", False)
    # The advice for such templates is there all the same.
    assert "three newlines" in str(finding.remedy)


@pytest.mark.parametrize("settings", [{}, {"tokenizer": "tiny"}])
def test_bare_texts_are_shown_beside_the_exact_prompt(settings: Any) -> None:
    findings = texts_to(Setup(template="none"), **settings)
    bare = findings["bare texts"]
    assert bare.colour == "green"
    assert "adds no template" in bare.message
    assert "qwen3-rerank serve" in str(bare.remedy)
    assert set(bare.measured) == {
        "relevant score",
        "irrelevant score",
        "relevant score of the exact prompt",
        "irrelevant score of the exact prompt",
    }
    # With a tokenizer token ids are sent, and the way of texts is another.
    assert ("texts to /v1/rerank" in findings) == bool(settings)


@pytest.mark.parametrize(
    ("name", "template"),
    [("sglang", "none"), ("tei", "none"), ("llamacpp", "none"), ("cohere", "none")],
)
def test_bare_texts_are_shown_for_every_family(name: str, template: str) -> None:
    settings = {"template": "client"} if name == "sglang" else {}
    assert list(texts_to(Setup(template=template), name, **settings)) == ["bare texts"]


@pytest.mark.parametrize("name", [*FAKES])
def test_a_server_that_templates_needs_no_such_warning(name: str) -> None:
    findings = texts_to(Setup(template="exact"), name)
    assert {finding.colour for finding in findings.values()} <= {"green"}


def test_texts_are_proven_where_token_ids_are_sent() -> None:
    findings = texts_to(Setup(template="exact"), tokenizer="tiny")
    assert findings["texts to /v1/rerank"].colour == "green"


def test_texts_that_are_refused_are_amber() -> None:
    setup = Setup(
        template="none", refuses=lambda text: text.startswith("Gravity is a force that a")
    )
    (finding,) = texts_to(setup, max_retries=0).values()
    assert (finding.name, finding.colour) == ("bare texts", "amber")
    assert "not exercised" in finding.message


@pytest.mark.parametrize("name", ["sglang", "tei", "dashscope"])
def test_a_template_that_nothing_shows_is_amber(name: str) -> None:
    row = FAKES[name]
    with RerankServer(Setup(template="exact"), kind=row.kind) as server:
        url = server.url + row.path
        findings = examine(RemoteEngine(url, **row.settings), url)
    template = findings["template"]
    assert (template.colour, "token ids" in template.message) == ("amber", False)
    assert "known pairs below" in str(template.remedy)
    server_finding = findings["server"].message
    assert f"dialect: {name}: " in server_finding
    assert "max length: " in server_finding


def test_texts_as_they_are_are_amber() -> None:
    with RerankServer(Setup(template="exact")) as server:
        findings = examine(RemoteEngine(server.url, template="none"), server.url)
    assert findings["template"].colour == "amber"
    assert "nothing is checked" in findings["template"].message


def test_a_server_that_is_not_there_may_have_been_started_as_a_guide_says() -> None:
    (finding,) = examine(RemoteEngine("http://127.0.0.1:9", max_retries=0)).values()
    assert "Qwen3VLForSequenceClassification" in str(finding.remedy)
