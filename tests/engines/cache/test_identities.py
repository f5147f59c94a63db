"""Which engines share scores: those that are known to score alike, and no others."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from qwen3_ascend_retrievers import (
    CachedEngine,
    CascadeEngine,
    LocalEngine,
    RemoteEngine,
    Reranker,
    langchain,
)
from qwen3_ascend_retrievers.engines.cache import MemoryStore
from qwen3_ascend_retrievers.errors import InvalidInputError
from qwen3_ascend_retrievers.models.files import TINY_FOLDER
from qwen3_ascend_retrievers.testing import FakeEngine
from support.rerank_answers import Setup, hash_logit, words_in_common
from support.rerank_server import RerankServer
from support.reranker_calls import FunctionEngine

DOCUMENTS = ["alpha beta", "gamma alpha", "delta"]


def test_two_servers_with_one_name_in_a_cascade() -> None:
    small = RerankServer(Setup(template="exact", model="reranker", scorer=words_in_common))
    big = RerankServer(Setup(template="exact", model="reranker", scorer=hash_logit))
    with small, big:
        cascade = CascadeEngine([RemoteEngine(small.url), RemoteEngine(big.url)], keep=2)
        options: Any = {"engine": cascade, "top_n": None}
        expected = langchain.Qwen3Rerank(**options).rerank(DOCUMENTS, "alpha")
        cached = langchain.Qwen3Rerank(**options, cache=True, cache_namespace="v1")
        assert cached.rerank(DOCUMENTS, "alpha") == expected
        assert cached.rerank(DOCUMENTS, "alpha") == expected
        cascade.close()


def test_who_applies_the_template_and_the_servers_are_in_the_key() -> None:
    store = MemoryStore()
    server = RerankServer(Setup(template="none", model="m", scorer=hash_logit))
    other = RerankServer(Setup(template="none", model="m", scorer=words_in_common))
    with server, other:
        for options in ({"template": "none"}, {}, {"base_url": other.url}):
            arguments: dict[str, Any] = {"base_url": server.url} | options
            for hits in (0, 3):
                # Other time limits are the same engine.
                engine = RemoteEngine(**arguments, timeout=30 + hits)
                with Reranker(CachedEngine(engine, store, cache_namespace="v1")) as reranker:
                    ranking = reranker.rank("alpha", DOCUMENTS)
                assert ranking.usage.cache_hits == hits
            with Reranker(RemoteEngine(**arguments)) as reranker:
                assert reranker.rank("alpha", DOCUMENTS).results == ranking.results


def test_weights_that_were_replaced_after_loading(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, store = tmp_path / "model", MemoryStore()
    shutil.copytree(TINY_FOLDER, folder)
    loaded = LocalEngine(str(folder), device="cpu")
    before = Reranker(loaded).rank("alpha", DOCUMENTS).results
    weights = folder / "model.safetensors"
    save_file({name: -value for name, value in load_file(weights).items()}, weights)
    with Reranker(CachedEngine(loaded, store)) as reranker:
        assert reranker.rank("alpha", DOCUMENTS).results == before
    assert "was changed after it was loaded" in caplog.text
    with Reranker(CachedEngine(LocalEngine(str(folder), device="cpu"), store)) as reranker:
        ranking = reranker.rank("alpha", DOCUMENTS)
    assert ranking.usage.cache_hits == 0
    assert ranking.results != before


def test_a_folder_in_snapshots_that_is_no_commit_is_told_by_its_files(tmp_path: Path) -> None:
    folder, store = tmp_path / "snapshots" / "latest", MemoryStore()
    shutil.copytree(TINY_FOLDER, folder)
    for _ in range(2):
        with Reranker(CachedEngine(LocalEngine(str(folder), device="cpu"), store)) as reranker:
            assert reranker.rank("alpha", DOCUMENTS).usage.cache_hits == 0
        (folder / "model.safetensors").touch()


@pytest.mark.parametrize("fingerprint", ["", None, 3, b"bytes"])
def test_a_fingerprint_that_is_no_text(fingerprint: Any) -> None:
    class Odd(FunctionEngine):
        def fingerprint(self) -> Any:
            return fingerprint

    engine = Odd(lambda plan, call: [])
    with pytest.raises(InvalidInputError, match=r"Odd\.fingerprint\(\) must return a non-empty"):
        Reranker(CachedEngine(engine, cache_namespace="x")).rank("alpha", DOCUMENTS)


def test_a_cache_around_a_cache() -> None:
    cached = CachedEngine(FakeEngine())
    with pytest.raises(InvalidInputError, match="has a cache already"):
        CachedEngine(cached)
    with pytest.raises(InvalidInputError, match="has a cache already"):
        langchain.Qwen3Rerank(engine=cached, cache=True).rerank(DOCUMENTS, "alpha")
    big = FakeEngine(model="big")
    cascade = CascadeEngine([cached, big], keep=1)
    rerank = langchain.Qwen3Rerank(engine=cascade, cache=True)
    assert rerank.rerank(DOCUMENTS, "alpha") == rerank.rerank(DOCUMENTS, "alpha")
    assert len(big.calls) == 1
