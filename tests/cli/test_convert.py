"""`qwen3-rerank convert` by the installed script: verified, bounded in memory, no overwriting."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from support.cli_runs import invoke, run
from support.qwen_tokenizer import write_qwen_tokenizer
from support.random_model import SHAPE_8B_SHORT, VOCABULARY


def test_tiny_is_converted_and_ranks(tmp_path: Path) -> None:
    target = str(tmp_path / "converted")
    result = run("convert", "tiny", target, "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["folder"] == target
    assert len(report["scores"]) == 4
    assert all(abs(pair["source"] - pair["copy"]) <= 1e-3 for pair in report["scores"])
    assert report["peak_rss_bytes"] < 2e9
    again = invoke("convert", "tiny", target)
    assert (again.exit_code, "is there already" in again.stderr) == (2, True)
    ranked = invoke("rank", "cat", "-", "--model", target, "--json", stdin="a dog\na cat\n")
    assert json.loads(ranked.stdout)["model"] == target


def test_the_outcome_is_told_in_words(tmp_path: Path) -> None:
    result = invoke("convert", "tiny", str(tmp_path / "converted"))
    assert "4 fixed pairs score as in the source" in result.stdout
    assert "Peak memory" in result.stdout


@pytest.fixture
def wide(tmp_path: Path) -> Iterator[Path]:
    """3.2 GB in the shards of an 8B model: its widths, its vocabulary, two of its 36 layers."""
    folder = tmp_path / "wide"
    config = Qwen3Config(vocab_size=VOCABULARY, dtype="bfloat16", **SHAPE_8B_SHORT)
    with torch.device("meta"):
        model = Qwen3ForCausalLM(config).to(torch.bfloat16)
    model.to_empty(device="cpu")
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.uniform_(-0.02, 0.02) if weight.dim() > 1 else weight.fill_(1)
    model.save_pretrained(folder, max_shard_size="2GB")
    write_qwen_tokenizer(folder)
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|im_end|>"}')
    yield tmp_path
    shutil.rmtree(tmp_path)


def test_a_model_of_the_8bs_widths_takes_less_than_two_gigabytes(wide: Path) -> None:
    source = wide / "wide"
    assert len(list(source.glob("*.safetensors"))) >= 2
    assert sum(shard.stat().st_size for shard in source.glob("*.safetensors")) > 3e9
    result = run("convert", str(source), str(wide / "copy"), "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["peak_rss_bytes"] < 2e9
    assert all(abs(pair["source"] - pair["copy"]) <= 1e-3 for pair in report["scores"])
