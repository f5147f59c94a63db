"""What the bundled model promises in docs/tiny-model.md, measured on the shipped folder.

Goes through transformers and tokenizers alone, so a mistake in the package cannot hide one here.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "qwen3_ascend_retrievers" / "models" / "tiny_model"
LESSONS = ROOT / "examples" / "train_tiny"
MEGABYTE = 1_000_000


class Measured:
    """Logits of the sanity pairs and of mixed pairs, each computed once."""

    def __init__(self) -> None:
        import evaluate

        self.tools: Any = evaluate
        self.rows = evaluate.sanity_pairs(LESSONS / "sanity.jsonl")

    @cached_property
    def exact(self) -> Any:
        import torch

        return self.tools.Scorer(FOLDER, torch.float32)

    @cached_property
    def rounded(self) -> Any:
        import torch

        return self.tools.Scorer(FOLDER, torch.bfloat16)

    @cached_property
    def mixed(self) -> tuple[list[float], list[float]]:
        pairs = self.tools.mixed_pairs(200)
        return self.exact(pairs), self.rounded(pairs)


@pytest.fixture(scope="module")
def measured() -> Iterator[Measured]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(LESSONS))
        yield Measured()
    for name in ("evaluate", "prompt"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(FOLDER / "tokenizer.json"))


def test_folder_is_small() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 12 * MEGABYTE


@pytest.mark.parametrize("precision", ["exact", "rounded"])
def test_guide_pair(measured: Measured, precision: str) -> None:
    guide = measured.rows[0]
    pairs = [(guide["query"], guide[side]) for side in ("better", "worse")]
    right, wrong = map(measured.tools.sigmoid, getattr(measured, precision)(pairs))
    assert right > 0.9
    assert wrong < 0.1


def test_sanity_pairs(measured: Measured) -> None:
    assert len(measured.rows) >= 37
    sides = ("better", "worse")
    logits = measured.exact([(r["query"], r[side]) for side in sides for r in measured.rows])
    better, worse = logits[: len(measured.rows)], logits[len(measured.rows) :]
    assert sum(b > w for b, w in zip(better, worse, strict=True)) >= 28


def test_scores_spread(measured: Measured) -> None:
    """Else a parity test on this model could not fail."""
    assert statistics.stdev(map(measured.tools.sigmoid, measured.mixed[0])) >= 0.2


def test_bfloat16_keeps_the_logits(measured: Measured) -> None:
    exact, rounded = measured.mixed
    off = max(abs(a - b) for a, b in zip(exact, rounded, strict=True))
    assert off <= 0.02 * (max(exact) - min(exact))


def test_answers_are_single_tokens(tokenizer: Any) -> None:
    assert tokenizer.encode("yes").tokens == ["yes"]
    assert tokenizer.encode("no").tokens == ["no"]


def test_added_tokens_are_those_of_qwen3_and_never_normalised(tokenizer: Any) -> None:
    added = tokenizer.get_added_tokens_decoder().values()
    assert len(added) == 26
    assert not any(token.normalized for token in added)
    for token in added:
        assert tokenizer.encode(token.content).tokens == [token.content]
        assert len(tokenizer.encode(token.content.upper())) > 1, "an upper-case twin is live"


def test_query_and_document_tokenize_apart(measured: Measured, tokenizer: Any) -> None:
    import prompt

    for row in measured.rows:
        parts = [
            prompt.prefix_ids(tokenizer),
            prompt.query_ids(tokenizer, [row["query"]])[0],
            prompt.document_ids(tokenizer, [row["better"]], 8192)[0],
        ]
        whole = tokenizer.encode(prompt.prompt(row["query"], row["better"])).ids
        assert [token for part in parts for token in part] == whole
