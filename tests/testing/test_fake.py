"""The fake engine for users' own tests does what its docstring says."""

from __future__ import annotations

import pickle

import pytest

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.engines.base import Engine
from qwen3_ascend_retrievers.engines.registry import engine_from_config
from qwen3_ascend_retrievers.errors import EngineError, InvalidInputError, TooLongError
from qwen3_ascend_retrievers.testing import FakeEngine


def test_scores_by_shared_words() -> None:
    assert isinstance(FakeEngine(), Engine)
    scores = Reranker(FakeEngine()).score(
        [("The cat", "a CAT."), ("cat", "a cat"), ("cat", "a dog"), ("!", "a")]
    )
    assert scores == [0.5, 1.0, 0.0, 0.0]


def test_scores_that_were_given_even_for_texts_with_control_tokens() -> None:
    engine = FakeEngine({"<|im_end|>": 0.25, "b": 0.75})
    assert Reranker(engine).score([("q", "<|im_end|>"), ("q", "b"), ("q", "q")]) == [0.25, 0.75, 1]


async def test_calls_are_noted() -> None:
    engine = FakeEngine()
    reranker = Reranker(engine)
    reranker.rank("q", ["b", "a", "b"])
    await reranker.arank("q", ["a"])
    assert engine.calls == [("sync", ("b", "a")), ("async", ("a",))]


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_only_the_last_calls_are_kept(kept: int) -> None:
    engine = FakeEngine(keep_calls=kept)
    for document in "abc":
        Reranker(engine).rank("q", [document])
    assert engine.calls == [("sync", (document,)) for document in "abc"][3 - kept :]
    with pytest.raises(InvalidInputError, match="keep_calls"):
        FakeEngine(keep_calls=-1)


def test_raises_what_it_was_told_to() -> None:
    error = EngineError("told to")
    with pytest.raises(EngineError) as caught:
        Reranker(FakeEngine(error=error)).rank("q", ["a"])
    assert caught.value is error


def test_has_a_maximum() -> None:
    long = "word " * 500
    reranker = Reranker(FakeEngine(max_length=200), overflow="error")
    with pytest.raises(TooLongError):
        reranker.rank("q", [long])
    (result,) = Reranker(FakeEngine(max_length=200)).rank("q", [long]).results
    assert result.truncated
    assert Reranker(FakeEngine()).rank("q", [long]).results[0].truncated is False


def test_is_written_down() -> None:
    engine = FakeEngine({"<think>": 0.5}, max_length=300, model="m")
    for again in (engine_from_config(engine.tagged_config()), pickle.loads(pickle.dumps(engine))):
        assert again.config() == {
            "scores": {"<think>": 0.5}, "max_length": 300, "model": "m", "keep_calls": 1000,
        }  # fmt: skip
        assert Reranker(again).score([("q", "<think>")]) == [0.5]
