"""What each supported vLLM is passed, chosen by its signatures (stubs: vllm_releases.py)."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from qwen3_ascend_retrievers.core.plan import Passage, Plan, Query
from qwen3_ascend_retrievers.engines.base import Call
from qwen3_ascend_retrievers.engines.vllm.compat import Vllm, installed_vllm
from qwen3_ascend_retrievers.engines.vllm.platform_facts import PlatformFacts
from qwen3_ascend_retrievers.engines.vllm.scoring import Requests
from qwen3_ascend_retrievers.engines.vllm.self_check import Prompt, PromptLogit
from qwen3_ascend_retrievers.engines.vllm.startup import logits_function
from qwen3_ascend_retrievers.engines.vllm.submission import SubmissionQueue
from qwen3_ascend_retrievers.engines.vllm.tuning import decide
from qwen3_ascend_retrievers.errors import EngineError, InvalidInputError
from support.vllm_releases import RELEASES, write_release

OLD = "0.9.2"
LOGITS = [release for release in RELEASES if release != OLD]


@pytest.fixture(params=RELEASES)
def version(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def vllm(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vllm]:
    write_release(tmp_path, version)
    monkeypatch.syspath_prepend(str(tmp_path))
    saved = {name: sys.modules.pop(name) for name in vllm_modules()}
    yield installed_vllm()
    for name in vllm_modules():
        del sys.modules[name]
    sys.modules.update(saved)


def vllm_modules() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] == "vllm"]


def engine(value: float, **more: Any) -> Any:
    """The stub's async engine, which answers every prompt with `value`."""
    output = SimpleNamespace(outputs=SimpleNamespace(data=torch.tensor([value])), **more)
    return sys.modules["vllm.v1.engine.async_llm"].AsyncLLM(output)


PLATFORMS = [
    PlatformFacts(device="cpu"),
    PlatformFacts(device="cuda", device_memory=0.5, enforce_eager=True),
    PlatformFacts(device="npu", chip="310P"),
]


@pytest.mark.parametrize("facts", PLATFORMS, ids=lambda facts: facts.device)
def test_each_release_gets_the_selector_it_knows(
    vllm: Vllm, version: str, facts: PlatformFacts
) -> None:
    settings, _ = decide(facts)
    arguments = vllm.arguments({"model": "m", **settings}, {"max_num_seqs": 7}).given
    selector: dict[str, Any] = {"runner": "pooling"}
    if version == OLD:
        selector = {"task": "score", "disable_log_requests": True}
    assert arguments == {**selector, "model": "m", **settings, "max_num_seqs": 7}


def test_the_callers_arguments_win_and_unknown_ones_are_named(vllm: Vllm, version: str) -> None:
    arguments = vllm.arguments({"model": "m", "block_size": 64}, {"block_size": 32}).given
    assert arguments["block_size"] == 32
    newer = "convert" if version == OLD else "disable_log_requests"
    with pytest.raises(InvalidInputError, match=f"vLLM {version} has no engine argument '{newer}'"):
        vllm.arguments({}, {newer: "classify"})


async def test_each_release_gets_the_parameters_it_knows(vllm: Vllm, version: str) -> None:
    assert vllm.gives_logits is (version in LOGITS)
    used = engine(0.5, num_cached_tokens=64)
    output = await vllm.score_prompt(used, (5, 6), "name")
    assert (output.value, output.cached) == (0.5, 64)
    ((_, parameters, lora),) = used.asked
    logits = {"task": "classify", "use_activation": False}
    assert parameters.given == ({"use_cross_encoder": True} if version == OLD else logits)
    assert lora is ...


@pytest.mark.parametrize("salt", [None, "s"])
async def test_each_release_gets_the_prompt_it_knows(
    vllm: Vllm, version: str, salt: str | None
) -> None:
    used = engine(0.5)
    assert (await vllm.score_prompt(used, (5, 6), "name", salt=salt)).cached is None
    ((prompt, _, _),) = used.asked
    if version == "0.23.0":
        tokens = {"prompt_token_ids": [5, 6], "prompt": None, "cache_salt": salt}
        assert prompt == {"made": tokens}
    else:
        salted = {} if salt is None else {"cache_salt": salt}
        assert prompt == {"prompt_token_ids": [5, 6], **salted}


async def test_an_adapter_goes_with_each_request(
    vllm: Vllm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    used = engine(0.5)
    await vllm.score_prompt(used, (5, 6), "name", lora=vllm.lora("~/adapter"))
    ((_, _, lora),) = used.asked
    path = str(tmp_path / "adapter")
    assert lora.given == {"lora_name": "adapter", "lora_int_id": 1, "lora_path": path}


async def test_only_newer_releases_tell_what_they_can_do(vllm: Vllm, version: str) -> None:
    assert await vllm.tasks(engine(0.5)) == (["classify"] if version in LOGITS else None)


async def test_a_probability_is_a_score_and_a_logit_becomes_one(vllm: Vllm, version: str) -> None:
    query = Query("q", "i", "p", (1, 2))
    plan = Plan((query,), (Passage(0, "d", (0, 1), (3,)),), ((0,),))
    requests = Requests(vllm, engine(0.25), None, SubmissionQueue(100, 10, None))
    (score,) = await requests.score(plan, Call())
    if version == OLD:
        assert (score.score, score.logit) == (0.25, None)
    else:
        assert (score.score, score.logit) == (pytest.approx(1 / (1 + math.exp(-0.25))), 0.25)


async def test_the_self_check_compares_logits_of_any_release(vllm: Vllm, version: str) -> None:
    for value, logit in ((0.25, math.log(0.25 / 0.75)), (0.0, -16.1181), (1.0, 16.1181)):
        used = engine(value, num_cached_tokens=16)
        compute = logits_function(vllm, Requests(vllm, used, None, SubmissionQueue(100, 10, None)))
        (answer,) = await compute([Prompt((1, 2), "salt")])
        expected = logit if version == OLD else value
        assert answer == PromptLogit(pytest.approx(expected, abs=1e-4), 16)


async def test_what_is_no_single_number_is_refused(vllm: Vllm) -> None:
    used = engine(0.5)
    used.output.outputs.data = torch.tensor([0.5, 0.5])
    with pytest.raises(EngineError, match="2 numbers"):
        await vllm.score_prompt(used, (5, 6), "name")
