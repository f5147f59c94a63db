"""Very many pairs through one engine that records nothing: what the process grows by."""

from __future__ import annotations

from typing import Any

from benchmarks.scale import Scale
from benchmarks.tables import Table
from benchmarks.workloads.waiting import memory
from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.testing import FakeEngine

_CALL = 1_000
_WARM_UP_SHARE = 0.01


def measure(scale: Scale) -> dict[str, Any]:
    """Bytes of the process after the first hundredth of the pairs, and its most after that."""
    first = max(_CALL, int(scale.streamed * _WARM_UP_SHARE))
    sizes = []
    with Reranker(FakeEngine(keep_calls=0)) as reranker:
        for begin in range(0, scale.streamed, _CALL):
            pairs = [
                (f"query {at}", f"document {at} of many") for at in range(begin, begin + _CALL)
            ]
            assert len(reranker.score(pairs)) == _CALL
            if begin + _CALL >= first:
                sizes.append(memory())
    return {"pairs": scale.streamed, "first": first, "before": sizes[0], "most": max(sizes)}


def tables(measured: dict[str, Any]) -> list[Table]:
    """Growth in MB."""
    growth = (measured["most"] - measured["before"]) / 1e6
    columns = ("pairs", "before them", "growth of the process, MB")
    return [Table(columns, [[f"{measured['pairs']:,}", f"{measured['first']:,}", f"{growth:.1f}"]])]
