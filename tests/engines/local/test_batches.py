"""What runs together, how much of it, and what happens when memory runs out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch

from qwen3_ascend_retrievers import LocalEngine, Reranker
from qwen3_ascend_retrievers.core.plan import Passage, Plan, Query
from qwen3_ascend_retrievers.engines.local.batches import Batch, Prefix, plan_batches
from qwen3_ascend_retrievers.engines.local.packing import KeyValues, PackedRow
from qwen3_ascend_retrievers.engines.local.prefixes import PrefixStore
from qwen3_ascend_retrievers.errors import (
    EngineError,
    InvalidInputError,
    MissingDependencyError,
    ModelError,
)
from support.torch_calls import record_torch_calls

GROWING_DOCUMENTS = [
    f"Document {at} is about topic {at % 7}." + " More words." * at for at in range(12)
]


@pytest.fixture(scope="module")
def reranker() -> Iterator[Reranker]:
    with Reranker(LocalEngine("tiny", device="cpu")) as reranker:
        reranker.rank("warm", ["up"])
        yield reranker


def make_plan(query_lengths: list[int], documents: list[tuple[int, int]]) -> Plan:
    """A plan of made-up ids; `documents` are (query, length)."""
    queries = [Query(str(at), str(at), "", (at,) * n) for at, n in enumerate(query_lengths)]
    passages = [Passage(query, "", (0, 0), (9,) * length) for query, length in documents]
    return Plan(tuple(queries), tuple(passages), tuple((at,) for at in range(len(passages))))


def scored(batches: list[Batch]) -> list[int]:
    return sorted(passage for batch in batches for passage in batch.passages)


def batches_of(plan: Plan, max_tokens: int) -> list[Batch]:
    """With the first two tokens of each query as the instruction's."""
    stems = {query.instruction: (query.ids or ())[:2] for query in plan.queries}
    return plan_batches(plan, stems, max_tokens)


def test_documents_of_one_query_share_its_part() -> None:
    (batch,) = batches_of(make_plan([5], [(0, 3), (0, 1), (0, 2), (0, 4)]), 1000)
    assert batch.passages == (0, 1, 2, 3)
    assert batch.rows == ((9,) * 3, (9,), (9,) * 2, (9,) * 4)
    assert set(batch.prefixes) == {Prefix((0,) * 5, 2)}


def test_few_documents_of_a_query_share_the_instruction_only() -> None:
    (batch,) = batches_of(make_plan([5, 4], [(0, 3), (1, 3), (1, 1)]), 1000)
    assert batch.prefixes == (Prefix((0, 0), 2), Prefix((1, 1), 2), Prefix((1, 1), 2))
    assert batch.rows[0] == (0, 0, 0, 9, 9, 9)
    assert batch.rows[2] == (1, 1, 9)


def test_long_documents_run_as_whole_prompts() -> None:
    plan = make_plan([2], [(0, 3), (0, 500), (0, 3), (0, 3), (0, 3)])
    (batch,) = batches_of(plan, 1000)
    assert batch.prefixes[1] == Prefix()
    assert len(batch.rows[1]) == 502
    assert batch.prefixes[0] == Prefix((0, 0), 2)


@pytest.mark.parametrize("budget", [1, 10, 33, 200])
def test_batches_keep_to_the_budget_and_lose_nothing(budget: int) -> None:
    documents = [(at % 3, 1 + (at * 7) % 20) for at in range(40)]
    plan = make_plan([3, 6, 4], sorted(documents))
    batches = batches_of(plan, budget)
    assert scored(batches) == list(range(40))
    for batch in batches:
        tokens = sum(map(len, batch.rows))
        assert len(batch.passages) == 1 or tokens <= budget
        for passage, row, prefix in zip(batch.passages, batch.rows, batch.prefixes, strict=True):
            assert prefix.ids + row == plan.prompt_ids(passage)


def tokens_of_a_call(reranker: Reranker, query: str) -> tuple[list[int], int]:
    """Tokens of its passes, and of all its prompts."""
    with record_torch_calls() as calls:
        ranking = reranker.rank(query, GROWING_DOCUMENTS)
    return calls.passes, ranking.usage.prompt_tokens or 0


def test_what_prompts_have_in_common_is_computed_once() -> None:
    query, other = "a query of some length, to be computed once", "another query, as long as that"
    with Reranker(LocalEngine("tiny", device="cpu")) as reranker:
        (stem, rest, documents), tokens = tokens_of_a_call(reranker, query)
        count = len(GROWING_DOCUMENTS)
        # Not one token twice, and no padding.
        assert stem + rest + documents == tokens - (count - 1) * (stem + rest)
        again, _ = tokens_of_a_call(reranker, query)
        assert again == [documents]
        (other_rest, other_documents), _ = tokens_of_a_call(reranker, other)
        assert other_rest < stem
        assert other_documents == documents


def test_a_query_with_several_batches_is_still_computed_once() -> None:
    with Reranker(LocalEngine("tiny", "cpu", batch_tokens=150)) as reranker:
        passes, tokens = tokens_of_a_call(reranker, "a query")
    stem, rest, *documents = passes
    assert len(documents) > 2
    assert max(documents) <= 150
    assert sum(documents) == tokens - len(GROWING_DOCUMENTS) * (stem + rest)


def test_a_row_for_each_answer_is_never_multiplied_by_the_vocabulary(reranker: Reranker) -> None:
    with record_torch_calls() as calls:
        reranker.score([("query", document) for document in GROWING_DOCUMENTS])
    assert calls.widths
    assert max(calls.widths) < 12_288


def test_identical_documents_are_computed_once(reranker: Reranker) -> None:
    with record_torch_calls() as calls:
        results = reranker.rank("query", ["the same"] * 50).results
    assert len(calls.passes) == 1
    assert calls.passes[0] < (results[0].tokens or 0)
    assert len({result.score for result in results}) == 1


def test_a_batch_that_does_not_fit_is_halved(reranker: Reranker) -> None:
    expected = [result.logit for result in reranker.rank("query", GROWING_DOCUMENTS).results]

    with record_torch_calls() as calls:
        reranker.rank("query", GROWING_DOCUMENTS)
    (whole,) = calls.passes

    def refuse(tokens: int) -> None:
        if tokens > whole // 3:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    with record_torch_calls(refuse) as calls:
        got = [result.logit for result in reranker.rank("query", GROWING_DOCUMENTS).results]
    assert got == pytest.approx(expected, abs=1e-4)
    first, *parts = calls.passes
    assert first == whole
    assert sum(tokens for tokens in parts if tokens <= whole // 3) == whole


def test_not_even_one_prompt_fits(reranker: Reranker) -> None:
    def refuse(tokens: int) -> None:
        raise MemoryError

    with (
        record_torch_calls(refuse),
        pytest.raises(EngineError, match="not enough memory for one prompt"),
    ):
        reranker.rank("query", GROWING_DOCUMENTS[:2])


def test_the_query_part_does_not_fit(reranker: Reranker) -> None:
    def refuse(tokens: int) -> None:
        raise RuntimeError("NPU out of memory. Tried to allocate 2.00 GiB")

    with record_torch_calls(refuse), pytest.raises(EngineError, match="not enough memory"):
        reranker.rank("a query that nobody asked before", GROWING_DOCUMENTS)


def test_what_else_torch_says_is_an_engine_error(reranker: Reranker) -> None:
    def refuse(tokens: int) -> None:
        raise RuntimeError("device-side assert triggered")

    with record_torch_calls(refuse), pytest.raises(EngineError, match="device-side assert"):
        reranker.rank("query", GROWING_DOCUMENTS)
    assert reranker.rank("query", GROWING_DOCUMENTS).status == "reranked"


def test_prefixes_are_kept_up_to_a_bound() -> None:
    computed: list[int] = []

    def compute(rows: Sequence[PackedRow]) -> list[KeyValues]:
        computed.extend(len(row.ids) for row in rows)
        tensor = torch.zeros(1, 1, 1)
        return [
            KeyValues(row.skipped + len(row.ids), [(tensor, tensor)] * (row.skipped + len(row.ids)))
            for row in rows
        ]

    # Eight bytes a token.
    cache = PrefixStore(compute, max_bytes=8 * 20)
    first, second = Prefix((1, 1, 2, 3), 2), Prefix((1, 1, 4), 2)
    assert cache.of([first, second, Prefix()])[Prefix()] is None
    assert computed == [2, 2, 1]
    found = cache.of([second, first, first])
    assert computed == [2, 2, 1]
    assert [found[prefix].tokens for prefix in (first, second)] == [4, 3]  # type: ignore[union-attr]
    cache.of([Prefix((5,) * 15)])
    assert computed == [2, 2, 1, 15]
    cache.of([first])
    assert computed == [2, 2, 1, 15, 2, 2]
    too_big = Prefix((6,) * 40, 30)
    assert cache.of([too_big])[too_big] is not None
    assert computed[-2:] == [30, 10]
    cache.of([too_big])
    assert computed[-2:] == [30, 10]
    assert len(computed) == 10


@pytest.mark.parametrize("devices", [["cpu"], ["cpu", "cpu"], ["cpu", "cpu", "cpu"]], ids=len)
async def test_a_call_is_spread_over_devices(reranker: Reranker, devices: list[str]) -> None:
    expected = [result.logit for result in reranker.rank("query", GROWING_DOCUMENTS).results]
    with Reranker(LocalEngine("tiny", devices)) as spread, record_torch_calls() as calls:
        got = [result.logit for result in spread.rank("query", GROWING_DOCUMENTS).results]
        assert got == pytest.approx(expected, abs=1e-4)
        assert spread.engine.facts().details["device"] == ", ".join(devices)
        ranking = await spread.arank("query", GROWING_DOCUMENTS)
        assert [result.logit for result in ranking.results] == pytest.approx(expected, abs=1e-4)
    assert len(calls.threads) == len(devices)


@pytest.mark.parametrize("devices", [["cpu", "npu:99"], ["npu:99", "cpu"]], ids=str)
async def test_a_device_that_is_not_there_is_told_at_once(devices: list[str]) -> None:
    engine = LocalEngine("tiny", devices)
    with pytest.raises((MissingDependencyError, ModelError), match="npu"):
        engine.facts()
    with pytest.raises((MissingDependencyError, ModelError), match="npu"):
        await engine.afacts()
    engine.close()


def test_calls_that_are_small_take_devices_in_turn() -> None:
    with Reranker(LocalEngine("tiny", ["cpu", "cpu"])) as spread, record_torch_calls() as calls:
        for _ in range(2):
            spread.rank("query", ["a document"])
    assert len(calls.threads) == 2


@pytest.mark.parametrize("device", [[], ["cpu", "gpu"], "tpu", None, [None]])
def test_devices_that_are_none(device: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"device (must be|is an empty list)"):
        LocalEngine("tiny", device)
