"""What is no checkpoint is named as what it is, with what to do; a damaged one is a ModelError."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwen3_ascend_retrievers import LocalEngine, Reranker
from qwen3_ascend_retrievers.checkpoints import find_checkpoint
from qwen3_ascend_retrievers.conversion.convert import convert
from qwen3_ascend_retrievers.errors import ModelError
from qwen3_ascend_retrievers.tokenizer_files import load_tokenizer


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def change_tokenizer(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(json.dumps(content), "utf-8")


def give_both_the_same_id(content: dict[str, Any]) -> None:
    vocabulary = content["model"]["vocab"]
    vocabulary["no"] = vocabulary["yes"]


def make_it_of_words(content: dict[str, Any]) -> None:
    content["model"] = {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"}
    content["pre_tokenizer"] = {"type": "Whitespace"}
    content["added_tokens"] = []


def make_it_of_words_that_it_knows(content: dict[str, Any]) -> None:
    vocabulary = {"[UNK]": 0, "yes": 1, "no": 2}
    content["model"] = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}
    content["pre_tokenizer"] = {"type": "Whitespace"}


def empty_it(content: dict[str, Any]) -> None:
    content["model"]["vocab"], content["model"]["merges"] = {}, []


def give_it_a_far_id(content: dict[str, Any]) -> None:
    content["model"]["vocab"]["far"] = 2_000_000


DAMAGED_TOKENIZERS: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "same id": (give_both_the_same_id, "no Qwen3 reranker's tokenizer"),
    "unknown words": (make_it_of_words, r"makes 1 tokens of 'yes' \(\[UNK\]\)"),
    "known words": (make_it_of_words_that_it_knows, "does not keep every byte of a text"),
    "empty": (empty_it, "tokenizer.json"),
    "far id": (give_it_a_far_id, "token ids up to 2000000 and the model's embedding 12288 rows"),
}


@pytest.mark.parametrize("what", DAMAGED_TOKENIZERS)
def test_a_tokenizer_that_would_make_all_scores_alike_is_refused(folder: Path, what: str) -> None:
    change, reason = DAMAGED_TOKENIZERS[what]
    change_tokenizer(folder, change)
    with pytest.raises(ModelError, match=reason):
        Reranker(LocalEngine(str(folder))).rank("q", ["a"])
    if what != "far id":
        with pytest.raises(ModelError, match=reason):
            load_tokenizer(str(folder))


@pytest.mark.parametrize("size", [100_000_001, 3 * 2**30, 2**63])
def test_a_huge_header_is_not_read(folder: Path, size: int) -> None:
    path = folder / "model.safetensors"
    with path.open("wb") as file:
        file.write(size.to_bytes(8, "little"))
        # Sparse: it takes no room on the disk.
        file.truncate(min(size + 16, 2**40))
    with pytest.raises(ModelError, match=r"header of .* bytes|cut short"):
        find_checkpoint(str(folder))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"vocab_size": 12_289}, "vocab_size 12289, and the embedding has 12288 rows"),
    ],
)
def test_a_config_of_another_model_is_refused(
    folder: Path, changes: dict[str, Any], reason: str
) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(ModelError, match=reason):
        find_checkpoint(str(folder))


def of_files(*names: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"{}")

    return make


FORMATS: dict[str, tuple[Callable[[Path], None], str]] = {
    "lora": (of_files("adapter_config.json", "adapter_model.safetensors"), "a LoRA adapter"),
    "gguf": (of_files("Qwen3-Reranker-0.6B-Q8_0.gguf"), "in GGUF, llama.cpp's format"),
    "onnx": (of_files("config.json", "tokenizer.json", "model.onnx"), "an ONNX export"),
    "optimum": (of_files("config.json", "onnx/model_quantized.onnx"), "an ONNX export"),
    "openvino": (of_files("config.json", "openvino_model.xml"), "an OpenVINO export"),
    "pickled": (of_files("config.json", "pytorch_model.bin"), "pickled files"),
    "pickled shards": (of_files("pytorch_model-00001-of-00002.bin"), "pickled files"),
    "om": (of_files("reranker.om"), "for Ascend's ACL"),
    "mindspore": (of_files("reranker.mindir"), "a MindSpore export"),
    "a folder too high": (of_files("snapshot/config.json"), "in a folder below it"),
}


@pytest.mark.parametrize("form", FORMATS)
def test_another_format_is_named(tmp_path: Path, tiny_folder: Path, form: str) -> None:
    make, reason = FORMATS[form]
    folder = tmp_path / "rerank"
    folder.mkdir()
    make(folder)
    if (folder / "config.json").exists():
        for name in ("config.json", "tokenizer.json"):
            shutil.copy(tiny_folder / name, folder / name)
    with pytest.raises(ModelError, match=f"it is .*{reason}"):
        find_checkpoint(str(folder))
    with pytest.raises(ModelError, match=f"it is .*{reason}"):
        convert(str(folder), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("model.gguf", "in GGUF, llama.cpp's format"),
        ("reranker.om", "an offline model for Ascend's ACL"),
        ("model.safetensors", "a file, and no folder"),
    ],
)
def test_a_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    # The relative path looks like a hub id.
    for model in (f"models/{name}", str(tmp_path / "models" / name)):
        with pytest.raises(ModelError, match=f"is {reason}"):
            Reranker(LocalEngine(model)).rank("q", ["a"])
