"""Where a misspelt preset is refused, and what a single word that is none is told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from qwen3_ascend_retrievers import INSTRUCTIONS, Reranker, langchain, llama_index
from qwen3_ascend_retrievers.errors import InvalidInputError
from qwen3_ascend_retrievers.testing import FakeEngine
from support.cli_runs import invoke

MISSPELT = "question-answering"


def reranker() -> Reranker:
    return Reranker(FakeEngine())


def adapter() -> langchain.Qwen3Rerank:
    return langchain.Qwen3Rerank(engine=FakeEngine())


PLACES: dict[str, Callable[[], Any]] = {
    "reranker": lambda: Reranker(FakeEngine(), instruction=MISSPELT),
    "rank": lambda: reranker().rank("q", ["a"], instruction=MISSPELT),
    "score": lambda: reranker().score([("q", "a")], instruction=MISSPELT),
    "langchain": lambda: langchain.Qwen3Rerank(engine=FakeEngine(), instruction=MISSPELT),
    "llama_index": lambda: llama_index.Qwen3Rerank(engine=FakeEngine(), instruction=MISSPELT),
    "assignment": lambda: setattr(adapter(), "instruction", MISSPELT),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_misspelt_preset_is_refused_at_once(place: str) -> None:
    with pytest.raises(InvalidInputError, match="Did you mean 'question_answering'"):
        PLACES[place]()


def test_the_command_line_refuses_it_and_lists_the_presets() -> None:
    done = invoke("rank", "q", "--model", "tiny", "--instruction", MISSPELT, stdin="a\n")
    assert (done.exit_code, "Did you mean 'question_answering'" in done.stderr) == (2, True)
    page = (Path(__file__).parent.parent / "docs" / "cli.md").read_text("utf-8")
    for command in ("rank", "explain", "eval"):
        shown = "".join(invoke(command, "--help").stdout.split())
        for preset, task in INSTRUCTIONS.items():
            assert preset in shown.replace("│", "")
            assert f"| `{preset}` | {task} |" in page


def test_another_word_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    word = f"w{uuid4().hex}"
    for _ in range(2):
        Reranker(FakeEngine(), instruction=word).rank("q", ["a"])
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert f"The instruction '{word}' names no preset" in warning.getMessage()
    for sentence in ("Find cats", "检索能回答该问题的中文段落", "web_search"):
        Reranker(FakeEngine(), instruction=sentence).rank("q", ["a"])
    assert len(caplog.records) == 1
