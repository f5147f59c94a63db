"""Doctor's line on the prefix cache: red where cached scores are wrong, green only if proven."""

from __future__ import annotations

from typing import Any

import pytest

from qwen3_ascend_retrievers import LocalEngine, Reranker
from qwen3_ascend_retrievers.core.plan import Plan
from qwen3_ascend_retrievers.core.ranking import Score
from qwen3_ascend_retrievers.tools.diagnosis.score_checks import PrefixCheck
from support.doctor_runs import AlteredEngine, examine, fixed_reply_server
from support.torch_calls import record_torch_calls


def test_wrong_cached_scores_are_red() -> None:
    def cached_wrong(score: Score, plan: Plan, at: int) -> Score:
        assert score.logit is not None
        return Score.of_logit(score.logit + 1.0 * (at > 0))

    findings = examine(AlteredEngine(cached_wrong))
    assert findings["prefix cache"].colour == "red"
    assert "--no-enable-prefix-caching" in str(findings["prefix cache"].remedy)


class Remembering:
    """A server's cache that keeps whole blocks and spoils the logits of prompts that hit one.

    Args:
        spoilt: a word; only prompts with a document that has it are spoilt.
    """

    def __init__(self, spoilt: str = "") -> None:
        self._spoilt = spoilt
        self._blocks: set[Any] = set()

    def __call__(self, score: Score, plan: Plan, at: int) -> Score:
        block = (plan.prompt_ids(at) or ())[:128]
        assert score.logit is not None
        hit = block in self._blocks and self._spoilt in plan.passages[at].text
        self._blocks.add(block)
        return Score.of_logit(score.logit + 1.0) if hit else score


def test_wrong_cached_scores_are_red_on_a_server_that_was_examined_before() -> None:
    cache = Remembering()
    for _ in range(2):
        findings = examine(AlteredEngine(cache))
        assert findings["prefix cache"].colour == "red"


@pytest.mark.parametrize("word", ["Beijing", "Gravity", "Bread", "egg"])
def test_wrong_cached_scores_of_one_document_are_red(word: str) -> None:
    with Reranker(AlteredEngine(Remembering(word))) as reranker:
        check = PrefixCheck(reranker)
        check.repeat()
        assert check.largest_difference() > 0.9
        assert not check.agrees()


def test_agreement_without_proof_is_amber() -> None:
    findings = examine(AlteredEngine(lambda score, *_: score))
    assert findings["prefix cache"].colour == "amber"
    assert findings["prefix cache"].remedy == "Let /metrics be reached."


def test_agreement_of_a_server_that_caches_nothing_is_amber() -> None:
    with fixed_reply_server(200, b"vllm:prefix_cache_hits_total 128.0\n") as url:
        findings = examine(AlteredEngine(lambda score, *_: score), url)
    assert findings["prefix cache"].colour == "amber"
    assert "no cached tokens" in findings["prefix cache"].message
    assert "--enable-prefix-caching" in str(findings["prefix cache"].remedy)


def test_the_local_engine_really_shares_the_query_when_prompts_are_repeated() -> None:
    with Reranker(LocalEngine("tiny", max_length=1200)) as reranker:
        check = PrefixCheck(reranker)
        with record_torch_calls() as calls:
            check.repeat()
        assert check.agrees()
    queries, documents = calls.passes[::2], calls.passes[1::2]
    assert len(queries) == len(documents) >= 4
    assert all(tokens > 3 * 128 for tokens in queries)
    assert all(tokens < 128 for tokens in documents)


class SelfChecked(AlteredEngine):
    """An engine that goes by vLLM's tag, and says how its self-check ended."""

    tag = "vllm"

    def __init__(self, outcome: str | None, bend: Any = lambda score, *_: score) -> None:
        super().__init__(bend)
        self.self_check = outcome


@pytest.mark.parametrize(
    ("outcome", "colour", "remedy"),
    [
        ("passed", "green", "None"),
        ("not exercised", "amber", "--max-length"),
        ("off", "amber", "self_check=True"),
        (None, "amber", "self_check=True"),
    ],
)
def test_vllm_in_this_process_is_believed_by_its_self_check(
    outcome: str | None, colour: str, remedy: str
) -> None:
    finding = examine(SelfChecked(outcome))["prefix cache"]
    assert finding.colour == colour
    assert "self-check" in finding.message
    assert remedy in str(finding.remedy)


def test_a_self_check_that_passed_excuses_no_wrong_scores() -> None:
    findings = examine(SelfChecked("passed", Remembering()))
    assert findings["prefix cache"].colour == "red"
