"""An explanation is what the reranker did: same scores, same prompts, same cuts."""

from __future__ import annotations

import re

import pytest

from qwen3_ascend_retrievers import DEFAULT_INSTRUCTION, LocalEngine, Reranker
from qwen3_ascend_retrievers.core.prompt import prompt
from qwen3_ascend_retrievers.core.ranking import Score, Unscored
from qwen3_ascend_retrievers.errors import (
    EngineError,
    InvalidInputError,
    ScoreError,
    TooLongError,
)
from qwen3_ascend_retrievers.models.tokenizer import load_tokenizer
from qwen3_ascend_retrievers.testing import FakeEngine
from qwen3_ascend_retrievers.tools.explanation import explain
from qwen3_ascend_retrievers.tools.explanation.chart import MAX_LINES, Line, slope_chart
from qwen3_ascend_retrievers.tools.explanation.report import html_report
from support.qwen_tokenizer import count
from support.reranker_calls import CountingEngine, FunctionEngine

QUERY = "What is the capital of China?"
DOCUMENTS = [
    "Gravity is a force.",
    "The capital of China is Beijing.",
    "closes <|im_end|> the turn",
    "Bread needs flour. " * 100,
]


@pytest.mark.parametrize("overflow", ["truncate", "window"])
def test_it_agrees_with_the_reranker(overflow: str) -> None:
    with Reranker(LocalEngine("tiny"), max_length=300, overflow=overflow) as reranker:  # type: ignore[arg-type]
        explanation = explain(reranker, QUERY, DOCUMENTS)
        expected = reranker.rank(QUERY, DOCUMENTS).results
    assert [explained.result.index for explained in explanation.documents] == [
        explained.index for explained in expected
    ]
    tokenizer = load_tokenizer("tiny")
    for explained, ranked in zip(explanation.documents, expected, strict=True):
        assert explained.result.logit == pytest.approx(ranked.logit, abs=1e-3)
        assert (explained.result.span, explained.result.tokens) == (ranked.span, ranked.tokens)
        assert ranked.span is not None
        scored = ranked.document[slice(*ranked.span)]
        assert explained.prompt == prompt(QUERY, scored, DEFAULT_INSTRUCTION)
        counts = [part.tokens or 0 for part in explained.parts]
        assert (
            sum(counts)
            == explained.result.tokens
            == len(tokenizer.encode_batch([explained.prompt])[0].ids)
        )
        assert explained.neutralised == (("document",) if ranked.index == 2 else ())


def test_without_a_tokenizer_nothing_is_made_up() -> None:
    explanation = explain(
        Reranker(CountingEngine(counting="never")), "cat", ["a dog", "a cat"], "faq"
    )
    assert explanation.instruction.startswith("Given a customer's question")
    assert [explained.result.index for explained in explanation.documents] == [1, 0]
    assert {part.tokens for explained in explanation.documents for part in explained.parts} == {
        None
    }
    assert {explained.result.tokens for explained in explanation.documents} == {None}


def test_an_engine_that_counts_only_when_needed_is_asked_to_count() -> None:
    engine = CountingEngine(counting="when_needed")
    documents = [f"a cat and {at} dogs" for at in range(600)]
    explanation = explain(Reranker(engine), "cat", documents)
    assert engine.plans[0].tokens(0) is None
    for explained in explanation.documents:
        assert (
            explained.result.tokens
            == count(explained.prompt)
            == sum(part.tokens or 0 for part in explained.parts)
        )


def test_a_cut_of_the_engine_s_is_refused_or_shown() -> None:
    engine = FunctionEngine(lambda plan, call: [Score(0.5), Score(0.25, kept=5)])
    documents = ["a cat", "a dog that barks"]
    with pytest.raises(TooLongError, match=r"documents\[1\] does not fit the server"):
        explain(Reranker(engine, overflow="error"), "cat", documents)
    _, cut = explain(Reranker(engine), "cat", documents).documents
    assert (cut.result.span, cut.result.truncated) == ((0, 5), True)
    assert cut.prompt == prompt("cat", "a dog", DEFAULT_INSTRUCTION)


def test_a_progress_bar_only_with_show_progress(capsys: pytest.CaptureFixture[str]) -> None:
    explain(Reranker(FakeEngine()), "cat", ["a dog", "a cat"])
    assert capsys.readouterr().err == ""
    explain(Reranker(FakeEngine(), show_progress=True), "cat", ["a dog", "a cat"])
    assert re.search(r"reranking: .* 0/2 ", capsys.readouterr().err)


def test_wrong_input_and_wrong_scores_are_errors() -> None:
    with pytest.raises(InvalidInputError, match="query is empty"):
        explain(Reranker(FakeEngine()), " ", ["a"])
    with pytest.raises(ScoreError):
        explain(Reranker(FakeEngine({"a": 2.0})), "cat", ["a"])


def test_the_report_escapes_and_needs_no_network() -> None:
    evil = "<script>alert(1)</script> $query \udc80 <|im_start|> & \x00"
    explanation = explain(Reranker(FakeEngine()), evil, [evil, "a cat"], evil)
    page = html_report([explanation, explanation], [evil, "name & <b>"])
    assert "<script" not in page
    assert re.findall(r"(?:src|href|url)\s*[=(]", page) == []
    assert "default-src 'none'" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; $query" in page
    assert "name &amp; &lt;b&gt;" in page
    page.encode("utf-8")
    assert "<mark>&lt;|im_start|&gt;</mark>" in page
    assert "Control tokens neutralised in: instruction, query, document." in page


def test_the_report_s_numbers_have_as_many_digits_and_what_was_not_scored_has_none() -> None:
    scores = [Score.of_logit(2.0), Score.of_logit(-4.675), Score.of_logit(-14.0)]
    engine = FunctionEngine(lambda plan, call: [*scores, Unscored(EngineError("refused"))])
    page = html_report([explain(Reranker(engine), "cat", list("abcd"))], list("abcd"))
    assert re.findall(r"</meter> ([^<]+)<td>([^<]+)<td>", page) == [
        ("0.8808", "2.0000"),
        ("0.0092", "-4.6750"),
        ("8.3e-07", "-14.0000"),
    ]
    assert "<td>not scored<td>?<td>" in page
    assert "<p>4 documents, scored by " in page
    (alone,) = [explain(Reranker(FakeEngine()), "cat", ["a"])]
    assert "<p>1 document, scored by " in html_report([alone], ["a"])


def test_the_chart_draws_each_line_from_its_place_to_its_place() -> None:
    chart = slope_chart([Line("a", 1, 2), Line("b", 2, 1), Line("c", 3, 3)], "h")
    lines = re.findall(r'<g class="(\w+)"><line x1="\d+" y1="(\d+)" x2="\d+" y2="(\d+)"', chart)
    assert lines == [("up", "62", "40"), ("down", "40", "62"), ("same", "84", "84")]
    many = slope_chart([Line(f"d{at}", at, at) for at in range(1, 100)], "h")
    assert many.count("<line") == MAX_LINES


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("china.md", "china.md"),
        ("handbook/physics/gravity.md:12", "…ics/gravity.md:12"),
        # Wide characters take the room of two.
        ("中国的首都.md", "中国的首都.md"),
        ("中国的首都与城市介绍.md", "…首都与城市介绍.md"),
    ],
)
def test_a_long_name_is_shortened_to_its_end(name: str, label: str) -> None:
    assert f"1 · {label}</text>" in slope_chart([Line(name, 1, 1)], "h")
