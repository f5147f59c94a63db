"""What a folder is that holds no usable checkpoint: named, with what to do instead."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwen3_ascend_retrievers.errors import ModelError
from qwen3_ascend_retrievers.models.checkpoint import find_checkpoint

ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def shard(folder: Path, *names: str) -> None:
    """Make the folder look sharded, its one real file the first shard."""
    (folder / "model.safetensors").rename(folder / names[0])
    weight_map = {f"weight{index}": name for index, name in enumerate(names)}
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": weight_map}))


def files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")


@pytest.mark.parametrize("whole", [True, False], ids=["with a config", "alone"])
@pytest.mark.parametrize(
    ("names", "message", "advice"),
    [
        (ADAPTER, "is a LoRA adapter", "lora="),
        (("Qwen3-Reranker-0.6B-Q8_0.gguf",), "is a GGUF model", "base_url="),
        (("onnx/model.onnx", "onnx/model.onnx_data"), "is an ONNX model", "base_url="),
        (("model.onnx",), "is an ONNX model", "base_url="),
        (("openvino_model.xml", "openvino_model.bin"), "is an OpenVINO model", "base_url="),
        (("pytorch_model.bin",), "in pickle files", "save_pretrained"),
        (
            ("pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"),
            "in pickle files",
            "save_pretrained",
        ),
        (("weights.npz",), "is an MLX model", "safetensors"),
        (("tf_model.h5",), "is a TensorFlow or Flax model", "save_pretrained"),
        (("model.mlpackage/Manifest.json",), "is a Core ML model", "safetensors"),
        (("rank0.engine",), "is a TensorRT engine", "base_url="),
        (("reranker.om",), "compiled for Ascend", "safetensors"),
        (("__0_0.distcp",), "training checkpoint in parts", "save_pretrained"),
    ],
    ids=str,
)
def test_models_of_another_format_are_named(
    folder: Path, names: tuple[str, ...], message: str, advice: str, whole: bool
) -> None:
    others = ("config.json", "tokenizer.json") if whole else ()
    for path in folder.iterdir():
        if path.name not in others:
            path.unlink()
    files(folder, *names, "training_args.bin")
    with pytest.raises(ModelError) as caught:
        find_checkpoint(str(folder))
    error = str(caught.value)
    assert message in error
    assert advice in error
    assert "incomplete" not in error


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.gguf", "is a GGUF model"),
        ("model.onnx", "is an ONNX model"),
        ("model.safetensors", "Give the folder that it is in"),
        ("model.zip", "is a file"),
    ],
)
def test_files_that_are_given_as_a_model(tmp_path: Path, name: str, message: str) -> None:
    files(tmp_path, name)
    with pytest.raises(ModelError, match=message):
        find_checkpoint(str(tmp_path / name))


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _one_level_down(folder: Path) -> None:
    (folder / "snapshots" / "0123").mkdir(parents=True)
    for path in [path for path in folder.iterdir() if path.is_file()]:
        path.rename(folder / "snapshots" / "0123" / path.name)


def _pooling_module(folder: Path) -> None:
    modules = [{"path": "", "type": "a.Transformer"}, {"path": "1_P", "type": "a.models.Pooling"}]
    (folder / "modules.json").write_text(json.dumps(modules))


def _sentence_transformer(folder: Path) -> None:
    settings = folder / "config_sentence_transformers.json"
    settings.write_text('{"model_type": "SentenceTransformer"}')


def _whole_with_adapter(folder: Path) -> None:
    files(folder, *ADAPTER)


def _two_sets(folder: Path) -> None:
    shutil.copy(folder / "model.safetensors", folder / "model-00001-of-00002.safetensors")


def _two_sets_with_index(folder: Path) -> None:
    index = '{"weight_map": {"model.norm.weight": "model-00001-of-00001.safetensors"}}'
    (folder / "model.safetensors.index.json").write_text(index)


def _no_index(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.rename(folder / "model-00001-of-00001.safetensors")


def _other_name(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "weights.safetensors")


def _doubled_tensors(folder: Path) -> None:
    shard(folder, "a.safetensors", "b.safetensors")
    shutil.copy(folder / "a.safetensors", folder / "b.safetensors")


def _outside(folder: Path) -> None:
    shard(folder, "a.safetensors")
    index = '{"weight_map": {"model.norm.weight": "../model/a.safetensors"}}'
    (folder / "model.safetensors.index.json").write_text(index)


def _dangling_link(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("gone")


def _old_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "vocab.json")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_empty, "is an empty folder"),
        (_one_level_down, "its subfolder 'snapshots/0123' does"),
        (_pooling_module, "is an embedding model"),
        (_sentence_transformer, "is an embedding model"),
        (_whole_with_adapter, "a whole model and a LoRA adapter"),
        (_two_sets, "two sets of weights"),
        (_two_sets_with_index, "two sets of weights"),
        (_no_index, "index.json is missing"),
        (_other_name, "has its weights in 'weights.safetensors'"),
        (_doubled_tensors, "is in a.safetensors and in b.safetensors"),
        (_outside, "is no file of the folder"),
        (_dangling_link, "model.safetensors is missing"),
        (_old_tokenizer, "a tokenizer in the old form only"),
    ],
)
def test_folders_that_are_something_else(
    folder: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(folder)
    with pytest.raises(ModelError, match=message):
        find_checkpoint(str(folder))


@pytest.mark.parametrize("link", [Path.symlink_to, None], ids=["linked files", "linked folder"])
def test_links_are_followed(tmp_path: Path, tiny_folder: Path, link: Any) -> None:
    folder = tmp_path / "linked"
    if link is None:
        folder.symlink_to(tiny_folder)
    else:
        folder.mkdir()
        for path in tiny_folder.iterdir():
            link(folder / path.name, path)
    assert find_checkpoint(str(folder)).vocab_size == 12_288
