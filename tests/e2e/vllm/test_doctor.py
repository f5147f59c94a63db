"""Doctor on a real vLLM in this process; on servers it is run in the tests of those."""

from __future__ import annotations

from collections.abc import Callable

from qwen3_ascend_retrievers import Reranker, VLLMEngine
from qwen3_ascend_retrievers.tools.diagnosis import check_engine

Start = Callable[..., VLLMEngine]


def test_the_prefix_cache_is_green_by_the_engines_own_self_check(start: Start) -> None:
    engine = start("tiny", "float32", max_length=1500)
    checks = {check.name: check for check in check_engine(Reranker(engine))}
    assert engine.self_check == "passed"
    assert checks["prefix cache"].colour == "green", checks["prefix cache"]
    assert "self-check passed" in checks["prefix cache"].message
    assert {check.colour for check in checks.values()} <= {"green", "amber"}
