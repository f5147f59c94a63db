"""One body over all dialects: right scores, or a typed error that names the next step.

The servers are fakes, written from the servers' source or vendors' pages; tests/e2e/vllm and
`make test-extended` have real ones.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest

from qwen3_ascend_retrievers import RemoteEngine, Reranker
from qwen3_ascend_retrievers.core.ranking import sigmoid
from qwen3_ascend_retrievers.engines.remote.protocol.dialects.table import DIALECTS
from qwen3_ascend_retrievers.errors import (
    AuthenticationError,
    RerankError,
    ScoreError,
    StatusError,
    TemplateMismatchError,
    TooLongError,
)
from support.dialects.cohere import CohereFake
from support.dialects.table import FAKES
from support.dialects.tei import TeiFake, typed_error
from support.remote_rankings import DOCUMENTS, QUERY, check_ranking, documents_of
from support.rerank_answers import RerankAnswers, Setup, right_logit

EACH = [(name, template) for name, row in FAKES.items() for template in row.templates]
CASES = pytest.mark.parametrize(
    ("name", "template"), EACH, ids=[f"{name}-{template}" for name, template in EACH]
)
NAMES = pytest.mark.parametrize("name", FAKES)
PLAIN = tuple(text for text in DOCUMENTS if text.strip())


def test_every_dialect_has_a_fake() -> None:
    assert {*FAKES, "infinity"} == set(DIALECTS)


@pytest.mark.parametrize("page", ["remote.md", "remote.zh.md"])
def test_the_pages_have_a_row_for_each(page: str) -> None:
    text = (Path(__file__).parents[3] / "docs" / page).read_text("utf-8")
    _, _, rows = text.partition("| `dialect=` |")
    assert re.findall(r"^\| `(\w+)` \|", rows.partition("\n\n")[0], re.MULTILINE) == list(DIALECTS)


@CASES
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_order_and_scores(
    start: Any, name: str, template: str, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    _, engine = start(name, template)
    reranker = Reranker(engine)
    ranking = await reranker.arank(QUERY, PLAIN) if is_async else reranker.rank(QUERY, PLAIN)
    check_ranking(ranking, documents=PLAIN)
    details = engine.facts().details
    assert details["dialect"].startswith(f"{name}: ")
    assert f"speaks the dialect {name} (" in caplog.text
    by_server = template == "exact"
    assert details["template"].startswith("by the server" if by_server else "by this side")


@CASES
def test_a_name_insists_and_is_written_down(start: Any, name: str, template: str) -> None:
    _, engine = start(name, template, dialect=name)
    check_ranking(Reranker(engine).rank(QUERY, PLAIN), documents=PLAIN)
    assert engine.facts().details["dialect"] == f"{name}: dialect= says so"
    with RemoteEngine(**engine.config()) as again:
        check_ranking(Reranker(again).rank(QUERY, PLAIN), documents=PLAIN)


@CASES
def test_another_instruction(start: Any, name: str, template: str) -> None:
    _, engine = start(name, template)
    reranker = Reranker(engine, instruction="Given a title, retrieve its abstract")
    if template == "exact" and DIALECTS[name].instruction_field is None:
        with pytest.raises(TemplateMismatchError, match=r"[Dd]rop the instruction"):
            reranker.rank(QUERY, PLAIN)
        return
    ranking = reranker.rank(QUERY, PLAIN)
    check_ranking(ranking, documents=PLAIN, instruction="Given a title, retrieve its abstract")


@CASES
def test_what_each_server_counts(
    start: Any, name: str, template: str, caplog: pytest.LogCaptureFixture
) -> None:
    _, engine = start(name, template)
    dialect, facts = DIALECTS[name], engine.facts()
    if name == "vllm":
        assert facts.template_verified is True
    else:
        assert facts.template_verified is (False if FAKES[name].counts else None)
        assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
    assert facts.counting == ("when_needed" if dialect.tokenize else "never")


@CASES
def test_a_document_that_is_too_long(start: Any, name: str, template: str) -> None:
    server, engine = start(name, template, setup={"max_model_len": 300})
    long = "The capital of China is Beijing. " * 200
    ranking = Reranker(engine).rank(QUERY, [*PLAIN[:2], long])
    assert sorted(result.index for result in ranking.results) == [0, 1, 2]
    for result in ranking.results:
        assert result.score is not None
        kept = (PLAIN[0], PLAIN[1], long)[result.index]
        if result.span is not None:
            assert result.cut != "no" or result.span[1] == len(kept)
            kept = kept[: result.span[1]]
        assert result.score == pytest.approx(sigmoid(right_logit(QUERY, kept)))
    if engine.facts().max_length is not None:
        refused = len(server.requests)
        Reranker(engine).rank(QUERY, [long])
        assert len(server.requests) - refused <= 4


@NAMES
def test_a_query_that_is_too_long(start: Any, name: str) -> None:
    _, engine = start(name, "exact", setup={"max_model_len": 300})
    with pytest.raises((TooLongError, StatusError)) as caught:
        Reranker(engine).rank("capital " * 2000, PLAIN)
    assert "max_length" in str(caught.value) or "query" in str(caught.value).lower()


@CASES
def test_too_many_documents(start: Any, name: str, template: str) -> None:
    server, engine = start(name, template, setup={"max_documents": 8})
    documents, row = documents_of(1, 20), FAKES[name]
    is_stated = "at most 8 in a request" in engine.facts().details["documents"]
    assert is_stated is row.states_documents
    for _ in range(2):
        check_ranking(Reranker(engine).rank(QUERY, documents), documents=documents)
    if not row.too_many or row.is_queue:
        return
    field = DIALECTS[name].documents_field
    begin = len(server.requests)
    check_ranking(Reranker(engine).rank(QUERY, documents), documents=documents)
    assert all(len(request.body[field]) <= 8 for request in server.requests[begin:])
    assert "at most 8 in a request" in engine.facts().details["documents"]


@NAMES
def test_a_blank_text(start: Any, name: str) -> None:
    _, engine = start(name, "exact")
    ranking = Reranker(engine).rank(QUERY, DOCUMENTS)
    if FAKES[name].scores_blank:
        check_ranking(ranking)
        return
    *scored, blank = ranking.results
    assert (blank.index, blank.score) == (DOCUMENTS.index(""), None)
    assert "is refused by the server, which takes others" in str(blank.error)
    for result in scored:
        right = sigmoid(right_logit(QUERY, DOCUMENTS[result.index]))
        assert result.score == pytest.approx(right)


@NAMES
def test_a_wrong_model(start: Any, name: str) -> None:
    _, engine = start(name, "exact", model="other", max_retries=0)
    if FAKES[name].checks_model:
        with pytest.raises(StatusError, match=r"set model=\.\.\. to a name that it has"):
            engine.facts()
    else:
        check_ranking(Reranker(engine).rank(QUERY, PLAIN), documents=PLAIN)


@NAMES
@pytest.mark.parametrize("key", ["sk-wrong-key", None])
def test_a_wrong_key(start: Any, name: str, key: str | None) -> None:
    _, engine = start(name, "exact", setup={"api_key": "sk-right-key"}, api_key=key)
    with pytest.raises(AuthenticationError, match="QWEN3_RERANK_API_KEY") as caught:
        engine.facts()
    assert "sk-" not in str(caught.value)
    _, engine = start(name, "exact", setup={"api_key": "sk-right-key"}, api_key="sk-right-key")
    check_ranking(Reranker(engine).rank(QUERY, PLAIN), documents=PLAIN)


@CASES
def test_templates_by_both_or_by_neither(start: Any, name: str, template: str) -> None:
    wrong = "client" if template == "exact" else "server"
    _, engine = start(name, template, template=wrong)
    with pytest.raises(TemplateMismatchError, match="template='auto'"):
        engine.facts()


@CASES
def test_a_server_that_scores_all_alike(start: Any, name: str, template: str) -> None:
    _, engine = start(name, template, setup={"scorer": lambda ids: -50.0})
    with pytest.raises(TemplateMismatchError, match="three very different documents"):
        engine.facts()


@pytest.mark.parametrize("counts", [True, False])
def test_words_are_no_tokens(serve: Any, connect: Any, counts: bool) -> None:
    class Words(CohereFake):
        """LocalAI: `usage` counts words."""

        def counts(self, scored: Any) -> Any:
            total = sum(len(document.text.split()) for document in scored)
            return {"usage": {"total_tokens": total}} if counts else {}

    server = serve(Setup(template="exact"), kind=Words)
    with pytest.raises(TemplateMismatchError, match="Say it: template='client'"):
        connect(server.url).facts()
    engine = connect(server.url, template="server")
    check_ranking(Reranker(engine).rank(QUERY, PLAIN), documents=PLAIN)
    assert engine.facts().template_verified is None


class LogitFake(CohereFake):
    """A server that returns the bare logit."""

    def rerank(self, body: Any) -> Any:
        reply = super().rerank(body)
        scored = self.ranked(body["query"], body["documents"])
        logits = {document.index: document.logit for document in scored}
        for result in reply["results"]:
            result["relevance_score"] = logits[result["index"]]
        return reply


def test_logits_are_scores_only_where_it_is_said(serve: Any, connect: Any) -> None:
    server = serve(Setup(template="exact"), kind=LogitFake)
    with pytest.raises(RerankError, match="scores='logit'"):
        connect(server.url).facts()
    engine = connect(server.url, scores="logit")
    ranking = Reranker(engine).rank(QUERY, PLAIN)
    check_ranking(ranking, documents=PLAIN)
    assert all(
        result.logit == right_logit(QUERY, PLAIN[result.index]) for result in ranking.results
    )
    assert engine.facts().details["scores"] == "logits"


def test_a_number_that_is_no_probability_later_names_the_setting(serve: Any, connect: Any) -> None:
    class Later(CohereFake):
        def rerank(self, body: Any) -> Any:
            reply = super().rerank(body)
            if body["query"] == QUERY and body["documents"][0] == PLAIN[-1]:
                reply["results"][0]["relevance_score"] = 3.5
            return reply

    engine = connect(serve(Setup(template="exact"), kind=Later).url)
    with pytest.raises(ScoreError, match=r"3.5 is no probability.*scores='logit'"):
        Reranker(engine).rank(QUERY, PLAIN[::-1])


def test_a_tokenize_route_that_knows_no_field_counts_nothing(serve: Any, connect: Any) -> None:
    class Empty(RerankAnswers):
        """A vLLM behind a gateway whose /tokenize answers like llama.cpp's to other fields."""

        def tokenize(self, body: Any) -> Any:
            return {"tokens": []}

    engine = connect(serve(Setup(template="exact"), kind=Empty).url)
    assert engine.facts().counting == "never"
    check_ranking(Reranker(engine).rank(QUERY, PLAIN), documents=PLAIN)


def test_a_limit_of_one_is_named(serve: Any, connect: Any) -> None:
    class Full(TeiFake):
        def rerank(self, body: Any) -> Any:
            if body["texts"][0] == PLAIN[0] and body["query"] == "other":
                raise typed_error(422, "batch size 1 > maximum allowed batch size 0")
            return super().rerank(body)

    engine = connect(serve(Setup(template="exact"), kind=Full).url)
    with pytest.raises(StatusError, match="batch_size="):
        Reranker(engine).rank("other", PLAIN)


def test_llama_cpp_s_batch_is_learnt_from_its_refusal(start: Any) -> None:
    server, engine = start("llamacpp", "exact")
    reranker = Reranker(engine)
    reranker.rank(QUERY, PLAIN[:1])
    server.setup.max_bytes = 250
    long = "The capital of China is Beijing. " * 60
    first = reranker.rank(QUERY, [long])
    assert first.results[0].cut != "no"
    assert engine.facts().max_length == 250
    assert "by the server's refusal" in engine.facts().details["max_length"]
    before = len(server.requests)
    assert reranker.rank(QUERY, [long]).results[0].score is not None
    assert [request.path for request in server.requests[before:]].count("/v1/rerank") == 1
