"""What runs together, how much of it, and what happens when memory runs out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qwen3_ascend_retrievers import LocalEngine, Reranker
from qwen3_ascend_retrievers.core.plan import Passage, Plan, Query
from qwen3_ascend_retrievers.engines.local.batches import Batch, plan_batches
from qwen3_ascend_retrievers.errors import EngineError
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
    queries = [Query(str(at), "", "", (at,) * n) for at, n in enumerate(query_lengths)]
    passages = [Passage(query, "", (0, 0), (9,) * length) for query, length in documents]
    return Plan(tuple(queries), tuple(passages), tuple((at,) for at in range(len(passages))))


def scored(batches: list[Batch]) -> list[int]:
    return sorted(passage for batch in batches for passage in batch.passages)


def test_documents_of_one_query_share_its_part() -> None:
    (batch,) = plan_batches(make_plan([5], [(0, 3), (0, 1), (0, 2), (0, 4)]), 1000)
    assert batch == Batch((3, 0, 2, 1), ((9,) * 4, (9,) * 3, (9,) * 2, (9,)), (0,) * 5)


def test_few_documents_of_many_queries_go_together_as_whole_prompts() -> None:
    (batch,) = plan_batches(make_plan([2, 3, 4], [(0, 3), (1, 3), (2, 3), (2, 1)]), 1000)
    assert batch.shared is None
    assert batch.passages == (2, 1, 0, 3)
    assert batch.rows[0] == (2, 2, 2, 2, 9, 9, 9)


def test_long_documents_run_as_whole_prompts() -> None:
    plan = make_plan([2], [(0, 3), (0, 500), (0, 3), (0, 3), (0, 3)])
    shared, whole = sorted(plan_batches(plan, 1000), key=lambda batch: batch.shared is None)
    assert whole.passages == (1,)
    assert whole.shared is None
    assert shared.passages == (0, 2, 3, 4)


@pytest.mark.parametrize("budget", [1, 10, 33, 200])
def test_batches_keep_to_the_budget_and_lose_nothing(budget: int) -> None:
    documents = [(at % 3, 1 + (at * 7) % 20) for at in range(40)]
    plan = make_plan([3, 6, 1], documents)
    batches = plan_batches(plan, budget)
    assert scored(batches) == list(range(40))
    for batch in batches:
        longest = max(plan.tokens(passage) or 0 for passage in batch.passages)
        assert len(batch.passages) == 1 or longest * len(batch.passages) <= budget


def test_the_query_part_is_computed_once(reranker: Reranker) -> None:
    with record_torch_calls() as calls:
        ranking = reranker.rank("a query of some length, to be computed once", GROWING_DOCUMENTS)
    tokens = ranking.usage.prompt_tokens or 0
    (query_pass, document_pass) = calls.passes
    assert query_pass[0] == 1
    assert document_pass[0] == len(GROWING_DOCUMENTS)
    assert query_pass[1] + document_pass[1] == max(result.tokens or 0 for result in ranking.results)
    assert query_pass[1] + document_pass[0] * document_pass[1] < tokens


def test_a_query_with_several_batches_is_still_computed_once() -> None:
    with (
        Reranker(LocalEngine("tiny", "cpu", batch_tokens=400)) as reranker,
        record_torch_calls() as calls,
    ):
        reranker.rank("a query", GROWING_DOCUMENTS)
    shared = [tokens for rows, tokens in calls.passes if rows == 1 and tokens > 60]
    assert len(shared) == 1
    assert len(calls.passes) > 3


def test_a_row_for_each_answer_is_never_multiplied_by_the_vocabulary(reranker: Reranker) -> None:
    with record_torch_calls() as calls:
        reranker.score([("query", document) for document in GROWING_DOCUMENTS])
    assert calls.widths
    assert max(calls.widths) < 12_288


def test_identical_documents_are_computed_once(reranker: Reranker) -> None:
    with record_torch_calls() as calls:
        results = reranker.rank("query", ["the same"] * 50).results
    assert [rows for rows, _ in calls.passes] == [1]
    assert len({result.score for result in results}) == 1


def test_a_batch_that_does_not_fit_is_halved(reranker: Reranker) -> None:
    expected = [result.logit for result in reranker.rank("query", GROWING_DOCUMENTS).results]

    def refuse(rows: int, tokens: int) -> None:
        if rows > 3:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    with record_torch_calls(refuse) as calls:
        got = [result.logit for result in reranker.rank("query", GROWING_DOCUMENTS).results]
    assert got == pytest.approx(expected, abs=1e-4)
    assert [rows for rows, _ in calls.passes] == [1, 12, 6, 3, 3, 6, 3, 3]


def test_not_even_one_prompt_fits(reranker: Reranker) -> None:
    def refuse(rows: int, tokens: int) -> None:
        raise MemoryError

    with (
        record_torch_calls(refuse),
        pytest.raises(EngineError, match="not enough memory for one prompt"),
    ):
        reranker.rank("query", GROWING_DOCUMENTS[:2])


def test_the_query_part_does_not_fit(reranker: Reranker) -> None:
    def refuse(rows: int, tokens: int) -> None:
        raise RuntimeError("NPU out of memory. Tried to allocate 2.00 GiB")

    with record_torch_calls(refuse), pytest.raises(EngineError, match="not enough memory"):
        reranker.rank("query", GROWING_DOCUMENTS)


def test_what_else_torch_says_is_an_engine_error(reranker: Reranker) -> None:
    def refuse(rows: int, tokens: int) -> None:
        raise RuntimeError("device-side assert triggered")

    with record_torch_calls(refuse), pytest.raises(EngineError, match="device-side assert"):
        reranker.rank("query", GROWING_DOCUMENTS)
    assert reranker.rank("query", GROWING_DOCUMENTS).status == "reranked"
