"""A converted checkpoint scores as its source, appears whole or not at all, and is verified."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from qwen3_ascend_retrievers import LocalEngine, Reranker
from qwen3_ascend_retrievers.errors import InvalidInputError, ModelError
from qwen3_ascend_retrievers.models.checkpoint import find_checkpoint
from qwen3_ascend_retrievers.models.conversion import convert
from qwen3_ascend_retrievers.models.conversion.convert import _verify
from qwen3_ascend_retrievers.models.conversion.tensors import load, load_rows
from qwen3_ascend_retrievers.models.files import TINY_FOLDER
from qwen3_ascend_retrievers.models.tokenizer import answer_ids, load_tokenizer
from qwen3_ascend_retrievers.models.weight_files import tensors_of
from support.parity import MAX_LENGTH, check_parity, expected_logits, logits_of


def untied(folder: Path) -> Path:
    """Tiny as the large models are: a head of its own, several shards, Qwen's bare config."""
    model = AutoModelForCausalLM.from_pretrained(TINY_FOLDER)
    model.config.tie_word_embeddings = False
    model.config.pad_token_id = None
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    model.save_pretrained(folder, max_shard_size="2MB")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((TINY_FOLDER / name).read_bytes())
    return folder


def test_a_sharded_model_with_a_head_of_its_own(tmp_path: Path) -> None:
    source, target = untied(tmp_path / "source"), tmp_path / "target"
    progress: list[tuple[int, int]] = []
    result = convert(str(source), target, progress=lambda *counts: progress.append(counts))
    assert sorted(os.listdir(tmp_path)) == ["source", "target"]
    assert result.shards > 2
    body = tensors_of("it", source)
    del body["lm_head.weight"]
    assert progress[-1] == (sum(tensor.size for tensor in body.values()),) * 2
    copied = tensors_of("it", target)
    assert copied.keys() == body.keys() | {"score.weight"}
    dtypes = {name: tensor.dtype for name, tensor in copied.items()}
    assert dtypes == dict.fromkeys(body, "BF16") | {"score.weight": "F32"}
    index = json.loads((target / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == result.size
    assert index["weight_map"] == {name: tensor.path.name for name, tensor in copied.items()}
    # The reference implementation reads the same bits.
    for path in target.glob("*.safetensors"):
        for name, values in load_file(path).items():
            assert torch.equal(load(copied[name]), values.float())
            if name != "score.weight":
                assert torch.equal(load(body[name]), values.float())


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert("tiny", tmp_path_factory.mktemp("tiny") / "converted").folder


def test_the_copy_passes_the_parity_test_of_its_source(converted: Path) -> None:
    with Reranker(LocalEngine(str(converted), dtype="float32"), max_length=MAX_LENGTH) as reranker:
        check_parity(logits_of(reranker), expected_logits(TINY_FOLDER), absolute=1e-3)


def test_config_and_tokenizer_are_corrected(tmp_path: Path, converted: Path) -> None:
    assert find_checkpoint(str(converted)).kind == "converted"
    source = untied(tmp_path / "source")
    settings = json.loads((source / "tokenizer_config.json").read_text())
    del settings["pad_token"]
    settings["chat_template"] = "{{ messages }}"
    (source / "tokenizer_config.json").write_text(json.dumps(settings))
    target = convert(str(source), tmp_path / "target").folder
    config = json.loads((target / "config.json").read_text())
    assert config["architectures"] == ["Qwen3ForSequenceClassification"]
    assert config["id2label"] == {"0": "LABEL_0"}
    tokenizer = load_tokenizer("tiny")
    assert config["pad_token_id"] == tokenizer.encode_batch(["<|endoftext|>"])[0].ids[0]
    target_settings = json.loads((target / "tokenizer_config.json").read_text())
    del settings["chat_template"]
    assert target_settings == settings | {"pad_token": "<|endoftext|>"}
    assert (target / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert("tiny", tmp_path / "target", progress=interrupt)
    assert os.listdir(tmp_path) == []


def test_what_cannot_be_converted_is_refused(tmp_path: Path, converted: Path) -> None:
    with pytest.raises(InvalidInputError, match="is there already"):
        convert("tiny", tmp_path)
    with pytest.raises(InvalidInputError, match="a converted checkpoint already"):
        convert(str(converted), tmp_path / "again")
    with pytest.raises(ModelError, match="There is no model folder"):
        convert("./gone", tmp_path / "target")
    save_file({"w": torch.zeros(2, 2, dtype=torch.int8)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="holds I8 tensors"):
        load(tensors_of("it", tmp_path)["w"])
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_a_copy_that_scores_otherwise_is_refused(converted: Path) -> None:
    source = find_checkpoint("tiny")
    tokenizer = load_tokenizer("tiny")
    embedding = tensors_of("it", TINY_FOLDER)["model.embed_tokens.weight"]
    yes, no = load_rows(embedding, answer_ids(tokenizer))
    assert len(_verify(source, converted, tokenizer, (yes, no))) == 4
    with pytest.raises(ModelError, match="it was thrown away"):
        _verify(source, converted, tokenizer, (no, yes))


@pytest.mark.parametrize(
    "changes",
    [{"num_hidden_layers": 9}, {"hidden_size": 100}, {"num_attention_heads": 0}],
    ids=str,
)
def test_a_config_that_does_not_fit_the_weights(tmp_path: Path, changes: dict[str, int]) -> None:
    source = Path(shutil.copytree(TINY_FOLDER, tmp_path / "source"))
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(ModelError, match="do not fit"):
        convert(str(source), tmp_path / "target")
    assert os.listdir(tmp_path) == ["source"]


@pytest.mark.parametrize("content", ["[]", '{"a"'])
def test_a_tokenizer_config_that_is_none(tmp_path: Path, content: str) -> None:
    source = Path(shutil.copytree(TINY_FOLDER, tmp_path / "source"))
    (source / "tokenizer_config.json").write_text(content)
    with pytest.raises(ModelError, match=r"tokenizer_config\.json"):
        convert(str(source), tmp_path / "target")
    assert os.listdir(tmp_path) == ["source"]
