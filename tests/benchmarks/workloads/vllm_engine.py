"""VLLMEngine beside vLLM's own `LLM.score`, each with an engine of its own in its own processes."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.checkpoint import model_folder
from benchmarks.engine_turns import measure_scorers
from benchmarks.pairs import long_documents, many_queries, one_query
from benchmarks.scale import Scale
from benchmarks.scorers import (
    VLLM,
    VLLM_SCORE,
    VLLM_SCORE_ALL_CORES,
    llm_score,
    vllm_engine,
)
from benchmarks.tables import Table, ratio_rows
from benchmarks.workloads.in_process import LONG, MANY_QUERIES, ONE_QUERY, TOLERANCES

NAMES = (VLLM, VLLM_SCORE, VLLM_SCORE_ALL_CORES)
LENGTH = 4096


def measure(scale: Scale) -> dict[str, Any]:
    """By kind of pairs, what all contenders took."""
    kinds = {
        ONE_QUERY: one_query(scale), LONG: long_documents(scale), MANY_QUERIES: many_queries(scale),
    }  # fmt: skip
    model = model_folder(scale)
    builders = {
        VLLM: partial(vllm_engine, model, LENGTH),
        VLLM_SCORE: partial(llm_score, model, LENGTH),
        VLLM_SCORE_ALL_CORES: partial(llm_score, model, LENGTH, all_cores=True),
    }
    return measure_scorers(builders, kinds, scale, TOLERANCES["bfloat16"])


def tables(runs: dict[str, Any]) -> list[Table]:
    """Times beside VLLMEngine's."""
    rows = ratio_rows(NAMES, runs, base=VLLM, peers=NAMES[1:], ours=VLLM)
    return [Table(("time / `VLLMEngine`'s time", *runs), rows)]
