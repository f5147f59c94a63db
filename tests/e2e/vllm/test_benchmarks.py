"""The workload of tests/benchmarks that needs a real vLLM: a small run, in a process that ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]
SECONDS = 600
PROGRAM = """
import json
from benchmarks.scale import Scale
from benchmarks.workloads import vllm_engine
small = Scale(
    layers=0, passages=4, queries=2, long_passages=2, long_words=60, engine_rounds=1
)
runs = vllm_engine.measure(small)
print(json.dumps({"runs": runs, "rows": [list(row) for row in vllm_engine.tables(runs)[0].rows]}))
"""


def test_all_contenders_agree_on_all_pairs() -> None:
    completed = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"PYTHONPATH": str(TESTS), "QWEN3_RERANK_ALLOW_TINY": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr[-3000:]
    measured = json.loads(completed.stdout.splitlines()[-1])
    assert [run["refused"] for run in measured["runs"].values()] == [{}] * 3
    assert [row[0] for row in measured["rows"]] == [
        "`VLLMEngine`", "`LLM.score` (vLLM)", "`LLM.score` (vLLM), all cores",
    ]  # fmt: skip
