"""Recognises models in formats that no engine here reads, and advises what to do instead.

By the names of files alone. The texts end a message that begins with the model's name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from ..settings import DEFAULT_MODEL

# Enough to recognise any model's folder; a home directory or "/" is not walked through.
_MAX_NAMES: Final = 2000
_MAX_FOLDER_DEPTH: Final = 3

_TAKE: Final = f'Give the safetensors checkpoint that it was made from, such as "{DEFAULT_MODEL}".'
_SERVE: Final = f"{_TAKE} Or serve it with its own software and give base_url=."
_MERGE: Final = (
    "Merge it into the model that it adapts (merge_and_unload of PEFT) and give the merged "
    "model's folder, or pass it as VLLMEngine(model=..., lora=...)."
)
_SAVE: Final = (
    "Load it where it was made and save it as safetensors (save_pretrained of transformers), "
    "then give the new folder."
)

# The first that matches a name is what the folder is: adapters and exports lie beside others.
_FORMATS: Final = tuple(
    (re.compile(pattern), description, advice)
    for pattern, description, advice in (
        (r"adapter_config\.json|adapter_model\.\w+", "a LoRA adapter (PEFT)", _MERGE),
        (r"\.gguf$|\.ggml$", "a GGUF model (llama.cpp, Ollama)", _SERVE),
        (r"openvino_.*\.(xml|bin)$", "an OpenVINO model", _SERVE),
        (r"\.onnx(_data)?$|\.onnx\.data$", "an ONNX model", _SERVE),
        (r"\.npz$", "an MLX model", _TAKE),
        (r"\.mlpackage|\.mlmodelc?($|/)", "a Core ML model", _TAKE),
        (r"\.(engine|plan)$", "a TensorRT engine", _SERVE),
        (r"\.(om|mindir)$", "a model that is compiled for Ascend (OM, MindIR)", _TAKE),
        (r"\.(pte|tflite|rknn|rkllm)$", "a model that is compiled for mobile devices", _TAKE),
        (r"\.h5$|\.msgpack$|\.pb$|\.ckpt\.index$", "a TensorFlow or Flax model", _SAVE),
        (
            r"\.distcp$|(^|/)(zero_pp_rank|mp_rank|bf16_zero|pytorch_model_fsdp)[^/]*",
            "a training checkpoint in parts (FSDP, DeepSpeed)",
            _SAVE,
        ),
        (r"\.(bin|pt|pth|ckpt|pkl)(\.index\.json)?$", "a model in pickle files (.bin, .pt)", _SAVE),
    )
)
# A format's word in a repository's name, and a file that such a repository holds.
_FILES_BY_WORD: Final = {
    "gguf": "model.gguf",
    "onnx": "model.onnx",
    "openvino": "openvino_model.xml",
    "mlx": "weights.npz",
}
_WEIGHTS: Final = re.compile(r"(?!adapter_)[^/]*\.safetensors")
# Files of training, not weights, although they have the same extensions.
_NOT_WEIGHTS: Final = re.compile(r"(training_args|optimizer|scheduler|rng_state[^/]*)\.(bin|pth?)$")


def foreign_format(names: Collection[str]) -> str | None:
    """What a model with files of these names is, and what to do; None if nothing is recognised.

    Args:
        names: paths in the model's folder or repository, "/" between their parts.
    """
    lowered = [name.lower() for name in names if not _NOT_WEIGHTS.search(name.lower())]
    for pattern, description, advice in _FORMATS:
        if any(pattern.search(name) for name in lowered):
            return f"is {description}, which no engine here loads as a model. {advice}"
    return None


def format_by_name(model: str) -> str | None:
    """What a repository is by its name, and what to do; None if the name says nothing."""
    words = re.split(r"[^a-z]+", model.lower())
    files = [file for word, file in _FILES_BY_WORD.items() if word in words]
    return foreign_format(files)


def format_of_file(path: Path) -> str:
    """What a single file that was given as a model is, and what to do."""
    if path.suffix == ".safetensors":
        return "is a file of weights, not a model's folder. Give the folder that it is in."
    return foreign_format([path.name]) or (
        "is a file. Give a folder with config.json, tokenizer.json and safetensors weights."
    )


def format_of_folder(folder: Path, *, missing_file: str) -> str:
    """What a folder that lacks a file is, and what to do.

    Args:
        folder: of the model.
        missing_file: the name of the file that it lacks, or "weights".
    """
    names = list(file_names(folder))
    if not names:
        return f"is an empty folder ({folder}): {missing_file} is missing. Fetch the model again."
    nested = sorted(name for name in names if name.endswith(f"/{missing_file}"))
    weights = sorted(name for name in names if _WEIGHTS.fullmatch(name))
    if nested and missing_file in ("config.json", "tokenizer.json"):
        subfolders = ", ".join(repr(name.removesuffix(f"/{missing_file}")) for name in nested[:3])
        return (
            f"holds no {missing_file} itself; its subfolder {subfolders} does. Give the path of "
            "the folder that config.json, tokenizer.json and the weights are in."
        )
    # Exports and adapters may lie beside a whole model, which then lacks something else.
    description = None if weights and missing_file == "tokenizer.json" else foreign_format(names)
    if description is not None:
        return description
    if missing_file == "tokenizer.json" and {"vocab.json", "merges.txt"} & set(names):
        return (
            "has a tokenizer in the old form only (vocab.json, merges.txt). Take tokenizer.json "
            f'from the model that it was made from, such as "{DEFAULT_MODEL}".'
        )
    if missing_file == "model.safetensors" and weights:
        return (
            f"has its weights in {weights[0]!r}, where loaders do not look for them: "
            f"{missing_file} is missing in {folder}, and so is an index of shards. Save the model "
            "again with save_pretrained, or fetch it again."
        )
    return (
        f"is incomplete: {missing_file} is missing in {folder}. Fetch the model again, and check "
        "that this is the folder of a Hugging Face checkpoint."
    )


def file_names(folder: Path) -> Iterator[str]:
    """Paths of files in a folder, down to three levels, in no order; bounded."""
    remaining = _MAX_NAMES
    for directory, folders, files in os.walk(folder):
        relative = Path(directory).relative_to(folder)
        if len(relative.parts) >= _MAX_FOLDER_DEPTH - 1:
            folders.clear()
        for name in files[:remaining]:
            yield (relative / name).as_posix()
        remaining -= len(files)
        if remaining <= 0:
            return
