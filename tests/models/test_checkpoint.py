"""A checkpoint that cannot be used is named before its weights are loaded."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwen3_ascend_retrievers import LocalEngine
from qwen3_ascend_retrievers.errors import ModelError
from qwen3_ascend_retrievers.models.checkpoint import find_checkpoint, reranker_kind
from qwen3_ascend_retrievers.models.conversion import convert

CAUSAL = {"architectures": ["Qwen3ForCausalLM"], "vocab_size": 151_669}
CONVERTED = {"architectures": ["Qwen3ForSequenceClassification"]}


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def shard(folder: Path, *names: str) -> None:
    """Make the folder look sharded, its one real file the first shard."""
    (folder / "model.safetensors").rename(folder / names[0])
    weight_map = {"model.norm.weight": names[0]} | {
        f"weight{index}": name for index, name in enumerate(names)
    }
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": weight_map}))


def test_tiny_is_an_original_checkpoint(tiny_folder: Path) -> None:
    checkpoint = find_checkpoint("tiny")
    assert checkpoint.kind == "original"
    assert checkpoint.folder == tiny_folder
    assert (checkpoint.vocab_size, checkpoint.max_positions) == (12_288, 8192)


@pytest.mark.parametrize(
    "model",
    [
        "Qwen/Qwen3-Reranker-0.6B",
        "/models/my-reranker",
        "/models/mine",
        "/cache/models--Qwen--Qwen3-Reranker-8B/snapshots/0123abc",
    ],
)
def test_originals(model: str) -> None:
    assert reranker_kind(model, CAUSAL) == "original"


@pytest.mark.parametrize("labels", [{"num_labels": 1}, {"id2label": {"0": "LABEL_0"}}], ids=str)
def test_converted_ones(labels: dict[str, Any]) -> None:
    assert reranker_kind("any/name", {**CONVERTED, **labels}) == "converted"


@pytest.mark.parametrize("labels", [{}, {"num_labels": 2}, {"id2label": {"0": "a", "1": "b"}}])
def test_other_classifiers(labels: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="classifier with 2 labels"):
        reranker_kind("any/name", {**CONVERTED, **labels})


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("Qwen/Qwen3-Embedding-0.6B", "embedding model"),
        ("/models/qwen3-embedding-4b/", "embedding model"),
        ("/cache/models--Qwen--Qwen3-Embedding-8B/snapshots/0123abc", "embedding model"),
        ("Qwen/Qwen3-0.6B", "base or chat"),
        ("Qwen/Qwen3-8B-Base", "base or chat"),
        ("/data/rerank-project/Qwen3-4B-Instruct-2507", "base or chat"),
        ("/cache/models--Qwen--Qwen3-0.6B/snapshots/0123abc", "base or chat"),
    ],
)
def test_models_that_share_the_architecture_are_recognised_by_name(
    model: str, message: str
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        reranker_kind(model, CAUSAL)
    assert model in str(caught.value)
    assert "Qwen/Qwen3-Reranker-0.6B" in str(caught.value)


def test_a_base_vocabulary_needs_a_name_that_says_reranker() -> None:
    config = {**CAUSAL, "vocab_size": 151_936}
    with pytest.raises(ModelError, match="vocabulary of Qwen3's base"):
        reranker_kind("/models/mine", config)
    assert reranker_kind("/models/mine-rerank", config) == "original"


@pytest.mark.parametrize(
    "architectures", [["BertForSequenceClassification"], ["Qwen2ForCausalLM"], ["Qwen3Model"], None]
)
def test_other_architectures(architectures: list[str] | None) -> None:
    with pytest.raises(ModelError, match="no Qwen3-Reranker"):
        reranker_kind("any/name", {"architectures": architectures})


def _pooling(folder: Path) -> None:
    (folder / "1_Pooling").mkdir()


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _half_a_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"architectures": [')


def _config_of_a_list(folder: Path) -> None:
    (folder / "config.json").write_text("[]")


def _no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _half_the_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def _half_a_header(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:200])


def _lfs_pointer(folder: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 8000000\n"
    (folder / "model.safetensors").write_text(text)


def _broken_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((3).to_bytes(8, "little") + b"{]}")


def _missing_shard(folder: Path) -> None:
    shard(folder, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def _weight_in_no_shard(folder: Path) -> None:
    shard(folder, "model-00001-of-00001.safetensors")


def _empty_index(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text("{}")


def _no_head(folder: Path) -> None:
    change_config(folder, tie_word_embeddings=False)


def _not_converted(folder: Path) -> None:
    change_config(folder, architectures=["Qwen3ForSequenceClassification"], num_labels=1)


def _no_vocabulary(folder: Path) -> None:
    change_config(folder, vocab_size=None)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_pooling, "embedding model"),
        (_no_config, "config.json is missing"),
        (_half_a_config, "cannot be read"),
        (_config_of_a_list, "no JSON object"),
        (_no_tokenizer, "tokenizer.json is missing"),
        (_no_weights, "model.safetensors is missing"),
        (_half_the_weights, "bytes. The download is incomplete"),
        (_half_a_header, "cut short"),
        (_lfs_pointer, "Git LFS pointer"),
        (_broken_header, "no safetensors file"),
        (_missing_shard, "model-00002-of-00002.safetensors is missing"),
        (_weight_in_no_shard, "weight0 is not among its weights"),
        (_empty_index, "lists no weights"),
        (_no_head, "lm_head.weight is not among"),
        (_not_converted, "score.weight is not among"),
        (_no_vocabulary, "config.json lacks"),
    ],
)
def test_damaged_folders(folder: Path, damage: Callable[[Path], None], message: str) -> None:
    find_checkpoint(str(folder))
    damage(folder)
    with pytest.raises(ModelError, match=message) as caught:
        find_checkpoint(str(folder))
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"architectures": 5},
        {"architectures": ["Qwen3ForSequenceClassification"], "id2label": 5},
        {"vocab_size": float("inf")},
        {"vocab_size": 0},
        {"vocab_size": True},
        {"vocab_size": 10**40},
        {"vocab_size": "12288"},
        {"vocab_size": 12288.0},
        {"max_position_embeddings": -5},
        {"hidden_size": None},
        {"num_hidden_layers": 0},
        {"head_dim": "64"},
        {"rms_norm_eps": "small"},
        {"rope_theta": float("nan")},
        {"rope_parameters": 5},
        {"hidden_act": "gelu"},
        {"attention_bias": "no"},
        {"tie_word_embeddings": "no"},
        {"model_type": "llama"},
        {"quantization_config": {"bits": 4, "group_size": 64}},
        {"quantization": {"bits": 4, "group_size": 64}},
        {"architectures": ["Qwen3ForSequenceClassification"], "classifier_from_token": ["no"]},
    ],
    ids=str,
)
def test_a_config_that_describes_nothing(folder: Path, changes: dict[str, Any]) -> None:
    change_config(folder, **changes)
    with pytest.raises(ModelError, match=r"config\.json"):
        find_checkpoint(str(folder))


def test_a_config_that_is_nested_too_deeply(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 200_000)
    with pytest.raises(ModelError, match="cannot be read"):
        find_checkpoint(str(folder))


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry.pop("dtype"),
        lambda entry: entry.update(shape=[1, 1]),
        lambda entry: entry.update(shape=[]),
        lambda entry: entry.update(shape="?"),
        lambda entry: entry.update(data_offsets=[4, 0]),
        lambda entry: entry.update(data_offsets=[-8, 0]),
    ],
)
def test_a_header_that_contradicts_itself(folder: Path, change: Callable[[Any], object]) -> None:
    path = folder / "model.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header["model.embed_tokens.weight"])
    encoded = json.dumps(header).encode()
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + content[8 + length :])
    with pytest.raises(ModelError, match="no safetensors file"):
        find_checkpoint(str(folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": 12_000}, "embed_tokens.weight has the shape [12288, 192]"),
        ({"vocab_size": 20_000}, "embed_tokens.weight has the shape [12288, 192]"),
        ({"hidden_size": 100}, "embed_tokens.weight has the shape [12288, 192]"),
        ({"num_attention_heads": 2}, "q_proj.weight has the shape [256, 192]"),
        ({"num_key_value_heads": 2}, "k_proj.weight has the shape [256, 192]"),
        ({"head_dim": None}, "the shape [64], and by config.json [128]"),
        ({"num_hidden_layers": 9}, "have 4 layers, and by config.json 9"),
        ({"num_hidden_layers": 10**9}, "have 4 layers, and by config.json 1000000000"),
        ({"num_hidden_layers": 2, "layer_types": None}, "Only a part of the model would be used"),
        ({"attention_bias": True}, "proj.bias is not among its weights"),
    ],
    ids=str,
)
def test_a_config_and_weights_that_are_of_two_models(
    folder: Path, changes: dict[str, Any], message: str
) -> None:
    change_config(folder, **changes)
    with pytest.raises(ModelError) as caught:
        find_checkpoint(str(folder))
    assert message in str(caught.value)


@pytest.mark.parametrize("length", [3 << 30, 150_000_000])
def test_a_header_of_gigabytes_is_not_read(folder: Path, length: int) -> None:
    with (folder / "model.safetensors").open("r+b") as file:
        file.write(length.to_bytes(8, "little"))
        # Sparse: it takes no room on the disk.
        file.truncate(length + 1000)
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match=f"a header of {length} bytes"):
            LocalEngine(str(folder)).facts()
        with pytest.raises(ModelError, match=f"a header of {length} bytes"):
            convert(str(folder), folder.parent / "target")
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("Qwen3VLForConditionalGeneration", "images and text"),
        ("Qwen3VLForSequenceClassification", "images and text"),
        ("XLMRobertaForSequenceClassification", "cross-encoder of another family"),
        ("Qwen3Model", "bi-encoder"),
        ("BertModel", "bi-encoder"),
        ("Qwen3MoeForCausalLM", "mixture-of-experts"),
        ("GemmaForCausalLM", "language model of another family"),
    ],
)
def test_other_architectures_are_described(architecture: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        reranker_kind("any/name", {"architectures": [architecture]})


def test_the_text_model_under_the_vision_model_s_name_is_told_apart(folder: Path) -> None:
    change_config(folder, architectures=["Qwen3VLForSequenceClassification"])
    with pytest.raises(ModelError, match=r"for a text model. Restore .*Qwen3ForCausalLM"):
        find_checkpoint(str(folder))


@pytest.mark.parametrize("method", ["awq", "gptq", "bitsandbytes", "fp8"])
def test_quantized_checkpoints_are_for_vllm_only(folder: Path, method: str) -> None:
    change_config(folder, quantization_config={"quant_method": method, "bits": 4})
    assert find_checkpoint(str(folder)).quantization == method
    with pytest.raises(ModelError, match=rf"quantized \({method}\).*LocalEngine needs"):
        LocalEngine(str(folder)).facts()
    with pytest.raises(ModelError, match=rf"quantized \({method}\).*Conversion needs"):
        convert(str(folder), folder.parent / "target")
