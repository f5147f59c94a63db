"""Each check turns red, with a remedy, on an engine that is wrong in the way it looks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from qwen3_ascend_retrievers import LocalEngine, RemoteEngine, Reranker
from qwen3_ascend_retrievers.core.plan import Plan
from qwen3_ascend_retrievers.core.ranking import Score
from qwen3_ascend_retrievers.engines.remote.protocol.canary import SHORTEST
from qwen3_ascend_retrievers.errors import TemplateMismatchError
from qwen3_ascend_retrievers.models.files import TINY_FOLDER
from qwen3_ascend_retrievers.models.known_pairs import CHINESE, GUIDE
from qwen3_ascend_retrievers.testing import FakeEngine
from qwen3_ascend_retrievers.tools.diagnosis import pairs
from qwen3_ascend_retrievers.tools.diagnosis.engine_checks import first_checks
from qwen3_ascend_retrievers.tools.diagnosis.metrics import cache_hits
from qwen3_ascend_retrievers.tools.diagnosis.pairs import known_pairs
from support.doctor_runs import AlteredEngine, examine, fixed_reply_server
from support.rerank_answers import rerank_only_setup
from support.rerank_server import RerankServer


def test_tiny_is_well_with_the_limit_that_its_page_documents() -> None:
    findings = examine(LocalEngine("tiny", max_length=1200))
    assert {finding.colour for finding in findings.values()} == {"green"}
    assert "has not learnt Chinese (docs/tiny-model.md" in findings["Chinese pair"].message
    assert "expected, not published" in findings["guide's pair"].message
    assert "token ids are sent" in findings["template"].message


@pytest.mark.parametrize(
    ("model", "shift", "colour"),
    [
        ("tiny", 0.0, "green"),
        (str(TINY_FOLDER), 0.0, "green"),
        # The documented limit excuses no other scores, and no other model.
        ("tiny", 0.5, "amber"),
        ("Qwen/Qwen3-Reranker-0.6B", 0.0, "amber"),
        ("my-tiny", 0.0, "amber"),
    ],
)
def test_only_the_bundled_model_may_miss_the_chinese_pair(
    model: str, shift: float, colour: str
) -> None:
    def bend(score: Score, *_: object) -> Score:
        return Score.of_logit((score.logit or 0) + shift)

    with Reranker(AlteredEngine(bend)) as reranker:
        _, chinese = known_pairs(reranker, model)
    assert chinese.colour == colour
    assert (chinese.remedy is None) == (colour == "green")


def test_the_documented_scores_are_those_of_the_page() -> None:
    page = (Path(__file__).parents[3] / "docs" / "tiny-model.md").read_text("utf-8")
    relevant, irrelevant = pairs._TINY_CHINESE
    assert f"{relevant} / {irrelevant}, the wrong order" in " ".join(page.split())


def test_all_scores_alike_are_red() -> None:
    findings = examine(AlteredEngine(lambda *_: Score.of_logit(0.01)))
    assert findings["known pairs"].colour == "red"
    assert "27857" in str(findings["known pairs"].source)


def test_a_wrong_order_is_red() -> None:
    findings = examine(AlteredEngine(lambda score, *_: Score.of_logit(-score.logit)))
    assert findings["guide's pair"].colour == "red"
    assert findings["Chinese pair"].colour in ("green", "amber")


def test_a_deaf_engine_is_red_for_its_instruction() -> None:
    findings = examine(FakeEngine())
    assert findings["instruction"].colour == "red"
    assert findings["long document"].colour == "amber"


def test_an_engine_that_refuses_instructions_is_red() -> None:
    def refuse(score: Score, plan: Plan, at: int) -> Score:
        if "recipe" in plan.queries[0].instruction:
            raise TemplateMismatchError("The server ignores `instruction`. Drop it.")
        return score

    findings = examine(AlteredEngine(refuse))
    assert findings["instruction"].colour == "red"
    assert findings["speed"].colour == "green"


def test_a_document_that_is_scored_otherwise_when_cut_is_red() -> None:
    def bend(score: Score, plan: Plan, at: int) -> Score:
        return (
            replace(score, logit=(score.logit or 0) + 2) if plan.passages[at].cut != "no" else score
        )

    findings = examine(AlteredEngine(bend))
    assert findings["long document"].colour == "red"


def test_published_scores_are_compared_as_logits() -> None:
    scores = {
        GUIDE.relevant: 0.9943,
        GUIDE.irrelevant: 7e-07,
        CHINESE.relevant: 0.95,
        CHINESE.irrelevant: 0.05,
    }
    english, chinese = known_pairs(Reranker(FakeEngine(scores)), "Qwen/Qwen3-Reranker-8B")
    assert (english.colour, chinese.colour) == ("green", "green")
    assert "published 0.99443" in english.message
    off = Reranker(FakeEngine(scores | {GUIDE.irrelevant: 7e-05}))
    assert known_pairs(off, "Qwen/Qwen3-Reranker-8B")[0].colour == "amber"
    assert known_pairs(off, "Qwen/Qwen3-Reranker-4B")[0].colour == "green"


@pytest.mark.parametrize(
    ("relevant", "irrelevant", "colour"),
    [(0.95, 0.05, "green"), (0.85, 0.05, "amber"), (0.95, 0.2, "amber")],
)
def test_scores_that_nobody_published_are_marked_met_or_missed(
    relevant: float, irrelevant: float, colour: str
) -> None:
    scores = {pair.relevant: relevant for pair in (GUIDE, CHINESE)}
    scores |= {pair.irrelevant: irrelevant for pair in (GUIDE, CHINESE)}
    findings = known_pairs(Reranker(FakeEngine(scores)), "Qwen/Qwen3-Reranker-4B")
    assert [finding.colour for finding in findings] == [colour] * 2
    assert all("expected, not published" in finding.message for finding in findings)


def test_a_server_that_proves_nothing_is_amber() -> None:
    with RerankServer(rerank_only_setup()) as server:
        findings = examine(RemoteEngine(server.url), server.url)
    assert findings["template"].colour == "amber"
    assert findings["prefix cache"].colour in ("amber", "red")


@pytest.mark.parametrize(
    ("status", "name"),
    [(401, "authentication"), (404, "model name and route"), (400, "model name and route")],
)
def test_a_refusing_server_is_red_by_the_name_of_what_is_wrong(status: int, name: str) -> None:
    with fixed_reply_server(status, b'{"error": "no"}') as url:
        findings = examine(RemoteEngine(url, max_retries=0), url)
    assert list(findings) == [name]
    assert findings[name].colour == "red"


@pytest.mark.parametrize("configured", [None, 512])
def test_a_short_length_is_red_unless_it_was_configured(configured: int | None) -> None:
    findings = examine(LocalEngine("tiny", max_length=512), max_length=configured)
    assert "most documents would be cut" in findings["model"].message
    red = [name for name, finding in findings.items() if finding.colour == "red"]
    assert red == (["model"] if configured is None else [])
    assert findings["model"].colour != "green"


@pytest.mark.parametrize("length", [SHORTEST, 512])
def test_a_server_that_was_started_with_a_short_length_is_not_red(length: int) -> None:
    with Reranker(LocalEngine("tiny", max_length=length)) as reranker:
        colours = {finding.name: finding.colour for finding in first_checks(reranker)}
    assert (colours["model"], colours["guide's pair"]) == ("amber", "green")
    assert "red" not in colours.values()


def test_no_server_is_red() -> None:
    findings = examine(RemoteEngine("http://127.0.0.1:9", max_retries=0), "http://127.0.0.1:9")
    assert findings["reachability"].colour == "red"


def test_cache_hits_are_read_from_metrics() -> None:
    text = (
        b"# TYPE vllm:prefix_cache_hits_total counter\n"
        b'vllm:prefix_cache_hits_total{engine="0",model_name="m"} 128.0\n'
        b'vllm:prefix_cache_hits_total{engine="1",model_name="m"} 2.0\n'
        b'vllm:prefix_cache_hits_created{engine="0"} 1.7e9\n'
    )
    with fixed_reply_server(200, text) as url:
        assert cache_hits(f"{url}/v1/") == 130.0
    with fixed_reply_server(404, text) as url:
        assert cache_hits(url) is None
    with RerankServer() as server:
        cache_hits(server.url, SecretStr("sk-metrics"))
    assert server.requests[0].headers["authorization"] == "Bearer sk-metrics"
    with fixed_reply_server(200, b"vllm:prefix_cache_hits_total x\n") as url:
        assert cache_hits(url) is None
    assert cache_hits(None) is None
    assert cache_hits("http://127.0.0.1:9") is None
