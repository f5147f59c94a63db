"""Whether a checkpoint is a Qwen3 reranker and complete: checked from its files, in milliseconds.

Reads JSON files and the headers of safetensors files, never the weights; needs neither torch nor
transformers. Finding the files is files.py's job; check.py checks the tokenizer and the head's rows
for "yes" and "no".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from ..errors import ModelError
from ..settings import DEFAULT_MODEL
from .files import FETCH_AGAIN, fetch_model, find_file, read_any_json, read_json
from .formats import format_of_folder
from .weight_files import FileStamps, file_stamps, tensors_of
from .weight_shapes import check_shapes, check_sizes

CheckpointKind = Literal["original", "converted"]

# Embedding rows of Qwen's base and chat models; the rerankers have 151,669.
_BASE_VOCABULARY: Final = 151_936
_BASE_NAME: Final = re.compile(r"qwen3-[\d.]+b(-a[\d.]+b)?(-(base|instruct|thinking|fp8).*)?")
# Part of an architecture's name, and what such a model is; the first match counts.
_FAMILIES: Final = (
    ("VL", "a model for images and text, with another prompt"),
    ("ForConditionalGeneration", "a model for images and text, with another prompt"),
    ("Moe", "a mixture-of-experts chat model"),
    (",", "of several architectures"),
    ("ForSequenceClassification", "a classifier or cross-encoder of another family"),
    ("ForCausalLM", "a language model of another family"),
    ("Model", "an embedding model (bi-encoder), or a model without a head"),
)
# Files beside config.json that describe a quantization.
_QUANTIZATION_FILES: Final = (
    "quant_model_description.json",
    "quantize_config.json",
    "quant_config.json",
    "hf_quant_config.json",
)
# Modules of sentence-transformers that turn a text into one embedding.
_VECTOR_MODULES: Final = ("Pooling", "Normalize", "StaticEmbedding", "SpladePooling")
# The vision reranker's architecture, which older guides name for the text model too.
VISION_ARCHITECTURE: Final = "Qwen3VLForSequenceClassification"
_RERANKER_ADVICE: Final = (
    f'Use a reranker such as "{DEFAULT_MODEL}", or a checkpoint made from one.'
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete Qwen3 reranker on this machine.

    Attributes:
        model: the name that it was requested by.
        folder: with its files.
        kind: "original" is a Qwen3ForCausalLM, scored by its "yes" and "no" logits; "converted"
            is a Qwen3ForSequenceClassification with one label, which is their difference.
        vocab_size: rows of its embedding.
        max_positions: the longest prompt, in tokens.
        quantization: the method that its layers are quantized by, or None.
        tied: whether its head is its embedding.
        stamps: of its files, before anything was loaded from them; from `file_stamps`.
    """

    model: str
    folder: Path
    kind: CheckpointKind
    vocab_size: int
    max_positions: int
    quantization: str | None = None
    tied: bool = False
    stamps: FileStamps = ()


def find_checkpoint(model: str, revision: str | None = None) -> Checkpoint:
    """The checkpoint that `model` names, complete on this machine.

    The config is checked before anything large is fetched.

    Raises:
        ModelError: the model is missing, incomplete, or no Qwen3 reranker.
        MissingDependencyError: it is a hub id and huggingface_hub is not installed.
        InvalidInputError: a revision was given for a folder.
    """
    config = read_json(model, find_file(model, "config.json", revision))
    kind = reranker_kind(model, config)
    check_sizes(model, config)
    folder = fetch_model(model, revision)
    stamps = file_stamps(folder)
    _check_folder(model, folder)
    quantization = _quantization_method(model, folder, config)
    check_shapes(
        model,
        config,
        tensors_of(model, folder),
        converted=kind == "converted",
        quantized=quantization is not None,
    )
    return Checkpoint(
        model,
        folder,
        kind,
        vocab_size=config["vocab_size"],
        max_positions=config["max_position_embeddings"],
        quantization=quantization,
        tied=config.get("tie_word_embeddings") or False,
        stamps=stamps,
    )


def check_unquantized(checkpoint: Checkpoint, purpose: str) -> None:
    """Raise ModelError for a quantized checkpoint where only others can be used.

    Args:
        checkpoint: from `find_checkpoint`.
        purpose: what needs unquantized weights, as the subject of a sentence.
    """
    if checkpoint.quantization is not None:
        raise ModelError(
            f"{checkpoint.model} is quantized ({checkpoint.quantization}). {purpose} needs the "
            f'unquantized checkpoint, such as "{DEFAULT_MODEL}"; VLLMEngine and `qwen3-rerank '
            "serve` load quantized ones where the device can."
        )


def reranker_kind(model: str, config: Mapping[str, Any]) -> CheckpointKind:
    """Which kind of Qwen3 reranker a config.json describes.

    Qwen3's base, chat and embedding models share the reranker's architecture; they are recognised
    by their name, and base models by their vocabulary too.

    Raises:
        ModelError: it is none.
    """
    architectures = config.get("architectures") or ["nothing"]
    label_names = config.get("id2label") or (0, 1)
    tied = config.get("tie_word_embeddings")
    if not isinstance(architectures, list) or not isinstance(label_names, dict | tuple):
        raise ModelError(f"{model}: config.json is of no known model. {_RERANKER_ADVICE}")
    if tied is not None and not isinstance(tied, bool):
        raise ModelError(
            f"{model}: tie_word_embeddings in config.json is {str(tied)[:40]!r}, neither true nor "
            f"false. {FETCH_AGAIN}"
        )
    if architectures == ["Qwen3ForSequenceClassification"]:
        _check_labels(model, config, config.get("num_labels") or len(label_names))
        kind: CheckpointKind = "converted"
    elif architectures == ["Qwen3ForCausalLM"]:
        _check_name(model, config)
        kind = "original"
    elif architectures == [VISION_ARCHITECTURE] and config.get("model_type") == "qwen3":
        raise ModelError(
            f"{model}: config.json names the vision model's architecture ({VISION_ARCHITECTURE}) "
            'for a text model. Restore "architectures": ["Qwen3ForCausalLM"], or '
            '["Qwen3ForSequenceClassification"] if its weights hold score.weight. Older guides '
            "name the other one, and vLLM does not load the model under it."
        )
    else:
        raise ModelError(
            f"{model} is {_describe_architectures(architectures)}, no Qwen3-Reranker. "
            f"{_RERANKER_ADVICE}"
        )
    if config.get("model_type", "qwen3") != "qwen3":
        raise ModelError(
            f"{model}: config.json names the model type {str(config['model_type'])[:40]!r} and a "
            f"Qwen3 architecture; loaders would disagree. {_RERANKER_ADVICE}"
        )
    return kind


def _check_labels(model: str, config: Mapping[str, Any], labels: object) -> None:
    if config.get("is_original_qwen3_reranker") or config.get("classifier_from_token"):
        raise ModelError(
            f"{model}: config.json holds vLLM's overrides for an original reranker "
            '(classifier_from_token, is_original_qwen3_reranker). Restore "architectures": '
            '["Qwen3ForCausalLM"] and remove them; they are set here where they are needed.'
        )
    if labels != 1 or isinstance(labels, bool):
        raise ModelError(
            f"{model} is a classifier with {str(labels)[:40]} labels; a converted reranker has 1. "
            f"{_RERANKER_ADVICE}"
        )


def _describe_architectures(architectures: list[Any]) -> str:
    """What a model of another architecture is, as a part of a sentence."""
    name = ", ".join(map(str, architectures))[:100]
    for part, description in _FAMILIES:
        if part in name:
            return f"{description} ({name})"
    return f"a {name}"


def _check_name(model: str, config: Mapping[str, Any]) -> None:
    name = re.split(r"[/\\]", model.rstrip("/\\"))[-1].lower()
    cached = re.search(r"models--[^/\\]*?--([^/\\]+)", model)
    name = cached.group(1).lower() if cached else name
    if "rerank" in name:
        return
    if "embedding" in name:
        raise ModelError(f"{model} is an embedding model, not a reranker. {_RERANKER_ADVICE}")
    if _BASE_NAME.fullmatch(name):
        raise ModelError(f"{model} is a base or chat model, not a reranker. {_RERANKER_ADVICE}")
    if config.get("vocab_size") == _BASE_VOCABULARY and "rerank" not in model.lower():
        raise ModelError(
            f"{model} has the vocabulary of Qwen3's base and chat models, whose scores mean "
            "nothing here. If it is a reranker made from one, put 'rerank' into its folder's "
            f"name. {_RERANKER_ADVICE}"
        )


def _check_folder(model: str, folder: Path) -> None:
    """Raise ModelError for a folder that is not that of one whole model, without an adapter."""
    module_list = folder / "modules.json"
    content = read_any_json(model, module_list) if module_list.is_file() else []
    modules = content if isinstance(content, list) else []
    types = [str(module.get("type")) for module in modules if isinstance(module, dict)]
    if (folder / "1_Pooling").is_dir() or any(name.endswith(_VECTOR_MODULES) for name in types):
        raise ModelError(
            f"{model} is an embedding model: it has a pooling layer. {_RERANKER_ADVICE}"
        )
    settings = folder / "config_sentence_transformers.json"
    model_type = read_json(model, settings).get("model_type") if settings.is_file() else None
    if model_type in ("SentenceTransformer", "SparseEncoder"):
        raise ModelError(
            f"{model} is an embedding model (a {model_type} of sentence-transformers). "
            f"{_RERANKER_ADVICE}"
        )
    if (folder / "adapter_config.json").is_file() and any(folder.glob("*.safetensors")):
        # transformers with peft would load the adapter too, and vLLM would not.
        if not any(folder.glob("model*.safetensors")):
            description = format_of_folder(folder, missing_file="model.safetensors")
            raise ModelError(f"{model} {description}")
        raise ModelError(
            f"{model} holds a whole model and a LoRA adapter (adapter_config.json): whether the "
            "adapter is meant is unknown. Move the adapter's files into a folder of their own."
        )
    if not (folder / "tokenizer.json").is_file():
        raise ModelError(f"{model} {format_of_folder(folder, missing_file='tokenizer.json')}")


def _quantization_method(model: str, folder: Path, config: Mapping[str, Any]) -> str | None:
    """The method that the layers are quantized by; None if they are not.

    Raises:
        ModelError: it is unknown, and so no engine reads it.
    """
    settings = config.get("quantization_config") or config.get("compression_config")
    if settings is None and not config.get("quantization"):
        files = [name for name in _QUANTIZATION_FILES if (folder / name).is_file()]
        return files[0] if files else None
    if isinstance(settings, dict) and isinstance(method := settings.get("quant_method"), str):
        return method[:40]
    raise ModelError(
        f"{model} is quantized in a way that no engine here reads: config.json names no "
        f"quant_method. MLX stores its models so. {_RERANKER_ADVICE}"
    )
