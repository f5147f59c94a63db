"""The lock that a fork does not leave held for ever."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from qwen3_ascend_retrievers import langchain, llama_index
from qwen3_ascend_retrievers._util.locks import fork_safe_lock
from qwen3_ascend_retrievers.adapters import engine_handle
from qwen3_ascend_retrievers.engines import registry
from support.forks import ends_well_in_a_child


def test_one_thread_at_a_time() -> None:
    lock, inside, most = fork_safe_lock(), [0], [0]

    def work() -> None:
        for _ in range(200):
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_it_is_free_again_after_an_error() -> None:
    lock = fork_safe_lock()
    with pytest.raises(KeyError), lock:
        raise KeyError
    with lock:
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("kind", [langchain.Qwen3Rerank, llama_index.Qwen3Rerank])
def test_a_child_can_choose_an_engine_while_the_parent_does(kind: Any) -> None:
    rerank = kind(base_url="http://127.0.0.1:9")
    with engine_handle._choosing, registry._logging:
        assert ends_well_in_a_child(rerank._engine)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_the_parent_still_holds_what_it_held() -> None:
    lock = fork_safe_lock()
    with lock:
        assert ends_well_in_a_child(lock.__enter__)
        assert lock.locked()


def test_it_is_pythons_own_lock() -> None:
    # With a class around it a Ctrl-C after its `acquire` would leave it held for ever.
    assert type(fork_safe_lock()) is type(threading.Lock())
