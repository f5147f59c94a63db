"""A text that the server refuses costs its own score, and not the others'."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from langchain_core.documents import Document

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.core.ranking import sigmoid
from qwen3_ascend_retrievers.errors import AuthenticationError, RemoteError, StatusError
from qwen3_ascend_retrievers.langchain import Qwen3Rerank
from support.rerank_answers import RefusalError, RerankAnswers, Setup, right_logit
from support.rerank_faults import status
from support.rerank_server import Fault, ReceivedRequest

QUERY = "Which?"
TEXTS = [f"text {number}" for number in range(20)]
BLANK = {3: "", 11: " \n"}
DOCUMENTS = [BLANK.get(at, text) for at, text in enumerate(TEXTS)]
# Neither /classify nor /tokenize: the server's own template, and texts only.
SETUP = {"template": "exact", "has_classify": False, "has_tokenize": False}


def is_blank(text: str) -> bool:
    return not text.strip()


def right(at: int) -> Any:
    return pytest.approx(sigmoid(right_logit(QUERY, DOCUMENTS[at])))


@pytest.mark.parametrize("is_async", [False, True])
def test_a_refused_document_comes_last_and_the_others_keep_their_scores(
    serve: Any, connect: Any, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(Setup(**SETUP, refuses=is_blank))
    reranker = Reranker(connect(server.url), score_threshold=0.0)
    if is_async:
        ranking = asyncio.run(reranker.arank(QUERY, DOCUMENTS))
    else:
        ranking = reranker.rank(QUERY, DOCUMENTS)
    assert len(ranking.results) == len(DOCUMENTS)
    *scored, third, eleventh = ranking.results
    assert [result.score for result in scored] == [right(result.index) for result in scored]
    assert [third.index, eleventh.index] == list(BLANK)
    for result in (third, eleventh):
        assert (result.score, result.span, type(result.error)) == (None, None, StatusError)
        assert f"documents[{result.index}] is refused by the server" in str(result.error)
        assert isinstance(result.error, StatusError)
        assert result.error.status == 422
    (warning,) = [
        record
        for record in caplog.records
        if record.levelno == logging.WARNING and record.name == "qwen3_ascend_retrievers.call"
    ]
    assert "2 of 20 texts could not be scored" in warning.getMessage()
    assert "documents[3] (StatusError)" in warning.getMessage()


def test_it_is_marked_in_metadata(serve: Any, connect: Any) -> None:
    server = serve(Setup(**SETUP, refuses=is_blank))
    rerank = Qwen3Rerank(engine=connect(server.url), top_n=None, diagnostics=True)
    *_, last = rerank.compress_documents([Document(text) for text in DOCUMENTS], QUERY)
    assert last.metadata["rerank_status"] == "not_scored"
    assert last.metadata["rerank_error"] == "StatusError"
    assert "relevance_score" not in last.metadata
    rows = rerank.model_copy(update={"diagnostics": False}).rerank(["", "text"], QUERY)
    assert rows[-1] == {"index": 0, "relevance_score": None, "rerank_status": "not_scored"}


def test_pairs_have_no_place_for_it(serve: Any, connect: Any) -> None:
    server = serve(Setup(**SETUP, refuses=is_blank))
    with pytest.raises(StatusError, match=r"documents\[1\] is refused by the server"):
        Reranker(connect(server.url)).score([(QUERY, "text"), (QUERY, "")])


def test_where_ids_can_be_sent_it_is_scored_by_them(serve: Any, connect: Any) -> None:
    server = serve(Setup(template="exact", refuses=is_blank))
    engine = connect(server.url)
    ranking = Reranker(engine).rank(QUERY, DOCUMENTS)
    assert [result.score for result in ranking.results] == [
        right(result.index) for result in ranking.results
    ]


def test_nothing_but_refused_documents_is_an_error(serve: Any, connect: Any) -> None:
    server = serve(Setup(**SETUP, refuses=is_blank))
    reranker = Reranker(connect(server.url))
    with pytest.raises(StatusError, match=r"documents\[0\] is refused by the server"):
        reranker.rank(QUERY, ["", " "])


@pytest.mark.parametrize("code", [400, 403, 422])
def test_a_request_that_is_wrong_as_a_whole_costs_one_more(
    serve: Any, connect: Any, code: int
) -> None:
    class Refusing(RerankAnswers):
        def rerank(self, body: Any) -> Any:
            raise RefusalError(code, {"detail": "no"})

    server = serve(Setup(**SETUP))
    # One connection, which stays open: over another, another server might answer by now.
    reranker = Reranker(connect(server.url, max_connections=1))
    reranker.rank(QUERY, ["text"])
    server.answers, before = Refusing(server.setup), len(server.requests)
    with pytest.raises(AuthenticationError if code == 403 else StatusError) as caught:
        reranker.rank(QUERY, TEXTS)
    assert isinstance(caught.value, RemoteError)
    assert caught.value.status == code
    assert len(server.requests) == before + 2


def test_a_successor_that_refuses_its_predecessor_s_requests_gets_a_handshake(
    serve: Any, connect: Any
) -> None:
    class Strict(RerankAnswers):
        def classify(self, body: Any) -> Any:
            raise RefusalError(400, {"detail": "input must be text"})

    server = serve()
    reranker = Reranker(connect(server.url, tokenizer="tiny", max_connections=1))
    reranker.rank(QUERY, ["text"])
    assert server.paths()[-1] == "/classify"
    server.answers = Strict(server.setup)
    server.decide = lambda request: None if len(server.requests) > before + 1 else status(400)
    before = len(server.requests)
    ranking = reranker.rank(QUERY, TEXTS)
    assert len([result for result in ranking.results if result.score is not None]) == len(TEXTS)
    assert server.paths()[-1] == "/v1/rerank"


def test_a_gateway_s_403_for_one_text_is_no_matter_of_the_key(serve: Any, connect: Any) -> None:
    class Firewall(RerankAnswers):
        def rerank(self, body: Any) -> Any:
            if "<script>" in "".join(body["documents"]):
                raise RefusalError(403, "<html>Blocked</html>")
            return super().rerank(body)

    server = serve(Setup(**SETUP))
    server.answers = Firewall(server.setup)
    ranking = Reranker(connect(server.url)).rank(QUERY, [*TEXTS, "<script>alert()</script>"])
    assert [result.index for result in ranking.results if result.score is None] == [len(TEXTS)]
    assert type(ranking.results[-1].error) is StatusError
    # Halving 21 documents, and not one request for each of them.
    assert server.paths().count("/v1/rerank") < 25


def test_what_is_refused_only_once_is_scored(serve: Any, connect: Any) -> None:
    hits = iter([None, status(400)])

    def decide(request: ReceivedRequest) -> Fault | None:
        many = request.path == "/v1/rerank" and len(request.body["documents"]) > 5
        return next(hits, None) if many else None

    server = serve(Setup(**SETUP), decide)
    reranker = Reranker(connect(server.url))
    reranker.rank(QUERY, TEXTS)
    ranking = reranker.rank(QUERY, TEXTS)
    assert all(result.score is not None for result in ranking.results)
