"""A forked child goes on with an engine of its parent, whatever the parent's threads were at."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from qwen3_ascend_retrievers import RemoteEngine, Reranker
from support.forks import ends_well_in_a_child
from support.remote_rankings import DOCUMENTS, QUERY, check_ranking

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


def test_a_forked_child_has_its_own_connections(serve: Any, connect: Any) -> None:
    reranker = Reranker(connect(serve().url))
    check_ranking(reranker.rank(QUERY, DOCUMENTS))
    assert ends_well_in_a_child(lambda: check_ranking(reranker.rank(QUERY, DOCUMENTS)))
    check_ranking(reranker.rank(QUERY, DOCUMENTS))


LOCKS: dict[str, Callable[[RemoteEngine], Any]] = {
    "loop thread": lambda engine: engine._loop_thread._lock,
    "failover": lambda engine: engine._failover._lock,
    "replicas": lambda engine: engine._failover._replicas._lock,
    "tokenizer": lambda engine: engine._failover._local._lock,  # type: ignore[union-attr]
    "its cache": lambda engine: engine._failover._local._loaded._cache._lock,  # type: ignore[union-attr]
}


@pytest.mark.parametrize("name", LOCKS)
def test_a_child_answers_that_was_forked_in_the_middle_of_a_call(
    serve: Any, connect: Any, name: str
) -> None:
    engine = connect(serve().url, tokenizer="tiny")
    reranker = Reranker(engine)
    check_ranking(reranker.rank(QUERY, DOCUMENTS))
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with LOCKS[name](engine):
            held.set()
            over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(30)
    try:
        assert ends_well_in_a_child(lambda: check_ranking(reranker.rank(QUERY, DOCUMENTS)))
    finally:
        over.set()
        thread.join()
    check_ranking(reranker.rank(QUERY, DOCUMENTS))
