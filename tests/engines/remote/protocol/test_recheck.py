"""A server is recognised by its scores, and another one is not taken for it."""

from __future__ import annotations

from typing import Any

import pytest

from qwen3_ascend_retrievers.core.agreement import readable_logit, same_logits
from qwen3_ascend_retrievers.core.steps import drive
from qwen3_ascend_retrievers.engines.remote.protocol.recheck import Reference, take_reference
from qwen3_ascend_retrievers.engines.remote.protocol.template_owner import Mode
from support.canary_answers import CanaryAnswers
from support.rerank_answers import Setup, hash_logit

SERVERS: dict[str, tuple[Setup, dict[str, Any]]] = {
    "none": (Setup(), {}),
    "exact": (Setup(template="exact"), {}),
    "exact, deaf": (Setup(template="exact", heeds_instruction=False), {}),
    "ids": (Setup(), {"protocol": "classify"}),
    "old": (Setup(has_classify=False, has_tokenize=False, knows_activation=False), {}),
    "nothing checked": (Setup(template="exact"), {"template": "none"}),
}
RIGHT = [name for name in SERVERS if name != "nothing checked"]


def reference_of(name: str, **changes: Any) -> tuple[Reference, Mode, CanaryAnswers]:
    setup, requested = SERVERS[name]
    world = CanaryAnswers(Setup(**(vars(setup) | changes)))
    mode = world.handshake(**requested)
    return drive(take_reference(mode), world.answer), mode, world


@pytest.mark.parametrize("name", SERVERS)
def test_the_same_server_is_known_again(name: str) -> None:
    first, mode, world = reference_of(name)
    replies = world.replies
    again = drive(take_reference(mode, first.prompts), world.answer)
    assert first.is_alike(again)
    assert first.is_replica(again)
    # One request, and one more where the server has to heed instructions.
    assert world.replies - replies == (2 if name == "exact" else 1)


CHANGES: dict[str, dict[str, Any]] = {
    "model": {"scorer": lambda ids: -hash_logit(ids)},
    "template": {"template": "official"},
    "foreign template": {"template": "foreign"},
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", SERVERS)
def test_another_server_is_not(name: str, change: str) -> None:
    first, mode, world = reference_of(name)
    # Ids are exact whatever the template.
    same = name == "ids" and change != "model"
    for key, value in CHANGES[change].items():
        setattr(world.setup, key, value)
    again = drive(take_reference(mode, first.prompts), world.answer)
    assert first.is_alike(again) is same


def test_one_that_became_deaf_is_not_the_same() -> None:
    first, mode, world = reference_of("exact")
    world.setup.heeds_instruction = False
    assert not first.is_alike(drive(take_reference(mode), world.answer))


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("other", RIGHT)
def test_replicas_are_known_however_they_are_talked_to(name: str, other: str) -> None:
    first, _, _ = reference_of(name)
    second, _, _ = reference_of(other)
    assert first.is_replica(second)
    assert not first.is_replica(reference_of(other, scorer=lambda ids: -hash_logit(ids))[0])


@pytest.mark.parametrize(
    ("probability", "logit"),
    [(0.5, 0.0), (0.0, -8.0), (1.0, 8.0), (1e-12, -8.0), (-3.0, -8.0), (7.0, 8.0)],
)
def test_a_probability_is_read_as_far_as_it_says_something(
    probability: float, logit: float
) -> None:
    assert readable_logit(probability) == pytest.approx(logit)


def test_noise_of_bf16_is_no_difference() -> None:
    # The published scores of the 8B and the 0.6B for the known pair, as logits.
    large, small = (5.184, -14.216), (7.6, -12.187)
    assert same_logits(large, (5.184 + 0.2, -14.216 - 0.2))
    assert not same_logits(large, small, runs=2)
    assert not same_logits((0.1, 0.2), (0.11, 0.2))
