"""The handshake's result for every kind of server, without any HTTP."""

from __future__ import annotations

import math
from typing import Any

import pytest

from qwen3_ascend_retrievers.core import agreement
from qwen3_ascend_retrievers.core.agreement import Agreement, kind_of
from qwen3_ascend_retrievers.core.ranking import sigmoid
from qwen3_ascend_retrievers.engines.remote.protocol.canary import AskRerank
from qwen3_ascend_retrievers.engines.remote.protocol.rerank_api import ScoreReply
from qwen3_ascend_retrievers.engines.remote.protocol.template_owner import (
    Mode,
    check_requested,
    counts_differ,
    owner_by_counts,
)
from qwen3_ascend_retrievers.errors import TemplateMismatchError
from support.canary_answers import CanaryAnswers
from support.rerank_answers import Setup


@pytest.mark.parametrize("tokenize", [True, False])
@pytest.mark.parametrize("classify", [True, False])
def test_no_template(tokenize: bool, classify: bool) -> None:
    mode = CanaryAnswers(Setup(has_tokenize=tokenize, has_classify=classify)).handshake()
    proven = tokenize and classify
    assert (mode.route, mode.template, mode.logits) == ("rerank", "client", True)
    assert mode.instructions
    assert mode.verified is proven
    assert mode.fallback is proven
    assert (mode.warning is None) is proven


@pytest.mark.parametrize("tokenize", [True, False])
def test_a_right_server_template(tokenize: bool) -> None:
    mode = CanaryAnswers(Setup(template="exact", has_tokenize=tokenize)).handshake()
    assert (mode.route, mode.template, mode.instructions) == ("rerank", "server", True)
    assert mode.verified is tokenize


def test_the_official_template_is_scored_by_classify() -> None:
    assert CanaryAnswers(Setup(template="official")).handshake() == Mode.classify()
    assert CanaryAnswers(Setup(template="official"), local=True).handshake() == Mode.classify()


@pytest.mark.parametrize("tokenize", [True, False])
def test_the_official_template_is_refused_where_texts_must_be_sent(tokenize: bool) -> None:
    world = CanaryAnswers(Setup(template="official", has_tokenize=tokenize), local=True)
    with pytest.raises(TemplateMismatchError, match=r"final newline.*three newlines"):
        world.handshake(protocol="rerank")


def test_a_local_tokenizer_makes_classify_the_cheap_route() -> None:
    assert CanaryAnswers(Setup(), local=True).handshake() == Mode.classify()
    # Without /tokenize to compare with, equal scores prove the tokenizer.
    assert CanaryAnswers(Setup(has_tokenize=False), local=True).handshake() == Mode.classify()
    assert CanaryAnswers(Setup(), local=True).handshake(protocol="rerank").verified is True


def test_a_tokenizer_that_nothing_proves_is_not_believed() -> None:
    world = CanaryAnswers(Setup(template="official", has_tokenize=False), local=True)
    with pytest.raises(TemplateMismatchError, match="final newline"):
        world.handshake()
    with pytest.raises(TemplateMismatchError):
        world.handshake(protocol="classify")


def test_classify_on_demand() -> None:
    assert (
        CanaryAnswers(Setup(template="foreign")).handshake(protocol="classify") == Mode.classify()
    )
    assert CanaryAnswers(Setup(has_tokenize=False), local=True).handshake(protocol="classify") == (
        Mode.classify()
    )
    for setup in (Setup(has_classify=False), Setup(has_tokenize=False)):
        with pytest.raises(TemplateMismatchError, match=r"0.18 or later.*tokenizer="):
            CanaryAnswers(setup).handshake(protocol="classify")


@pytest.mark.parametrize("tokenize", [True, False])
def test_embeddings_are_refused_with_the_flags(tokenize: bool) -> None:
    with pytest.raises(TemplateMismatchError, match="is_original_qwen3_reranker"):
        CanaryAnswers(Setup(overrides=False, has_tokenize=tokenize)).handshake()


@pytest.mark.parametrize("classify", [True, False])
@pytest.mark.parametrize("tokenize", [True, False])
def test_a_foreign_template_is_refused(tokenize: bool, classify: bool) -> None:
    setup = Setup(template="foreign", has_tokenize=tokenize, has_classify=classify)
    with pytest.raises(TemplateMismatchError, match="neither Qwen3-Reranker's prompt nor none"):
        CanaryAnswers(setup).handshake()


def test_a_dropped_instruction_is_noticed() -> None:
    mode = CanaryAnswers(Setup(template="exact", heeds_instruction=False)).handshake()
    assert (mode.template, mode.instructions, mode.fallback) == ("server", False, True)


def test_probabilities_where_logits_are_not_known() -> None:
    mode = CanaryAnswers(Setup(knows_activation=False, has_classify=False)).handshake()
    assert (mode.logits, mode.verified) == (False, False)
    # A /classify without logits proves nothing that could be relied on.
    assert CanaryAnswers(Setup(knows_activation=False)).handshake().verified is False


def test_a_server_that_counts_nothing_must_be_told() -> None:
    silent = Setup(counts=False, has_classify=False)
    with pytest.raises(TemplateMismatchError, match="template='client'"):
        CanaryAnswers(silent).handshake()
    assert CanaryAnswers(silent).handshake(template="client").template == "client"
    told = CanaryAnswers(Setup(counts=False, template="exact")).handshake(template="server")
    assert (told.template, told.verified, told.instructions) == ("server", True, None)


def test_a_wish_that_the_server_contradicts() -> None:
    with pytest.raises(TemplateMismatchError, match="twice"):
        CanaryAnswers(Setup(template="exact")).handshake(template="client")
    with pytest.raises(TemplateMismatchError, match="meaningless"):
        CanaryAnswers(Setup()).handshake(template="server")
    assert check_requested("server", "server") == "server"


def test_none_asks_nothing() -> None:
    world = CanaryAnswers(Setup())
    mode = world.handshake(template="none")
    assert (mode.template, mode.verified, world.replies) == ("none", False, 0)


def test_scores_outside_probability_are_refused() -> None:
    class Wild(CanaryAnswers):
        def answer(self, question: Any) -> Any:
            answer = super().answer(question)
            if isinstance(question, AskRerank):
                return ScoreReply(tuple(value + 3 for value in answer.values), answer.tokens)
            return answer

    with pytest.raises(TemplateMismatchError, match=r"is no probability.*hf-overrides"):
        Wild(Setup()).handshake()


def test_a_gateway_that_changes_the_prompt_is_noticed() -> None:
    class Changed(CanaryAnswers):
        def answer(self, question: Any) -> Any:
            answer = super().answer(question)
            if isinstance(question, AskRerank):
                return ScoreReply(tuple(value * 0.9 for value in answer.values), answer.tokens)
            return answer

    with pytest.raises(TemplateMismatchError, match="disagree about the same prompt"):
        Changed(Setup()).handshake(protocol="rerank")


@pytest.mark.parametrize("noise", [0.02, -0.05])
def test_noise_between_batches_is_no_mismatch(noise: float) -> None:
    assert CanaryAnswers(Setup(), noise=noise).handshake().verified is True
    assert CanaryAnswers(Setup(template="official"), noise=noise).handshake() == Mode.classify()


def test_counts_of_the_real_tokenizer() -> None:
    # Seen on vLLM 0.32 with Qwen's tokenizer: see VLLM.md, "Server-side templates".
    assert owner_by_counts(1, 74, (1, 74)) == owner_by_counts(1, 74, None) == "client"
    assert owner_by_counts(2, 74, None) == "client"
    assert owner_by_counts(74, 147, (1, 74)) == owner_by_counts(74, 147, None) == "server"
    for bare, whole in ((20, 92), (74, 74), (1, 1), (5, 77), (0, 0), (3, 3), (147, 220)):
        with pytest.raises(TemplateMismatchError, match=f"{bare} tokens for a bare pair"):
            owner_by_counts(bare, whole, None)
    with pytest.raises(TemplateMismatchError, match="1 and 74 were expected"):
        owner_by_counts(2, 74, (1, 74))


def test_counts_are_compared_where_all_are_known() -> None:
    assert counts_differ([3, 4], 8)
    assert not counts_differ([3, 4], 7)
    assert not counts_differ([3, None], 8)
    assert not counts_differ([3, 4], None)


def test_logits_and_probabilities_are_told_apart() -> None:
    logits = (-3.0, 0.2, 4.0)
    probabilities = tuple(map(sigmoid, logits))
    assert kind_of(logits, probabilities) == "logits"
    assert kind_of(probabilities, probabilities) == "probabilities"
    assert kind_of((0.1, 0.9, 0.5), probabilities) == "neither"
    assert agreement.look_like_probabilities((0.0, 1.0))
    assert not agreement.look_like_probabilities((0.5, 1.1))


def test_measuredof_saturated_scores() -> None:
    exact, mutant = (12.0, -14.0), (11.0, -13.0)
    measured = Agreement.of(exact, mutant, tuple(map(sigmoid, exact)))
    assert measured.noise == pytest.approx(0.28)
    assert measured.holds((12.1, -14.2), logits=True)
    assert not measured.holds((9.0, -10.0), logits=True)


def test_measuredof_probabilities() -> None:
    exact, mutant = (0.5, -1.0), (0.9, -0.5)
    measured = Agreement.of(exact, mutant, tuple(map(sigmoid, exact)))
    assert measured.holds(tuple(map(sigmoid, exact)), logits=False)
    assert not measured.holds(tuple(map(sigmoid, mutant)), logits=False)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_what_is_not_finite_agrees_with_nothing(wrong: float) -> None:
    for first, second in ((wrong, 2.0), (1.0, wrong)):
        assert not Agreement((1.0, 2.0), (3.0, 4.0), 0.0).holds((first, second), logits=True)
        assert not Agreement((first, second), (3.0, 4.0), 0.0).holds((first, second), logits=True)
        assert not Agreement((1.0, 2.0), (first, second), 0.0).holds((1.0, 2.0), logits=False)
