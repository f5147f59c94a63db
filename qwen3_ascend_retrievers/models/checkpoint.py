"""Whether a checkpoint is a Qwen3 reranker and complete: judged from its files, in milliseconds.

Reads JSON files and the headers of safetensors files, never the weights; needs neither torch nor
transformers. Finding the files is model_files.py's job, and the tokenizer and the rows of the head
that answer are judged by model_check.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from ..errors import ModelError
from ..settings import DEFAULT_MODEL
from .files import fetch_model, find_file, read_any_json, read_json
from .formats import format_of_folder
from .weight_files import tensors_of
from .weight_shapes import check_shapes, check_sizes

Kind = Literal["original", "converted"]

# Embedding rows of Qwen's base and chat models; the rerankers have 151,669.
_BASE_VOCABULARY: Final = 151_936
_BASE_NAME: Final = re.compile(r"qwen3-[\d.]+b(-a[\d.]+b)?(-(base|instruct|thinking|fp8).*)?")
# By a part of the architecture's name; the first that matches says it.
_FAMILIES: Final = (
    ("VL", "a model for images and text, with another prompt"),
    ("ForConditionalGeneration", "a model for images and text, with another prompt"),
    ("Moe", "a mixture-of-experts chat model"),
    (",", "of several architectures"),
    ("ForSequenceClassification", "a classifier or cross-encoder of another family"),
    ("ForCausalLM", "a language model of another family"),
    ("Model", "an embedding model (bi-encoder), or a model without a head"),
)
# Other places than config.json where a method of quantization is written down.
_QUANTIZATION_FILES: Final = (
    "quant_model_description.json",
    "quantize_config.json",
    "quant_config.json",
    "hf_quant_config.json",
)
# Modules of sentence-transformers that make one vector of a text.
_VECTOR_MODULES: Final = ("Pooling", "Normalize", "StaticEmbedding", "SpladePooling")
_USE: Final = f'Use a reranker such as "{DEFAULT_MODEL}", or a checkpoint made from one.'


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete Qwen3 reranker on this machine.

    Attributes:
        model: the name it was asked for by.
        folder: where its files are.
        kind: "original" is a Qwen3ForCausalLM, scored by its "yes" and "no" logits; "converted"
            is a Qwen3ForSequenceClassification with one label, which is their difference.
        vocabulary: rows of its embedding.
        max_positions: most tokens of a prompt.
        quantized: by what method its layers are quantized, or None.
        tied: whether its head is its embedding.
    """

    model: str
    folder: Path
    kind: Kind
    vocabulary: int
    max_positions: int
    quantized: str | None = None
    tied: bool = False


def find_checkpoint(model: str, revision: str | None = None) -> Checkpoint:
    """The checkpoint that `model` names, complete on this machine.

    The config is judged before anything large is fetched.

    Raises:
        ModelError: the model is missing, incomplete, or no Qwen3 reranker.
        MissingDependencyError: it is a hub id and huggingface_hub is not installed.
        InvalidInputError: a revision was given for a folder.
    """
    config = read_json(model, find_file(model, "config.json", revision))
    kind = reranker_kind(model, config)
    check_sizes(model, config)
    folder = fetch_model(model, revision)
    _check_folder(model, folder)
    quantized = _quantization(model, folder, config)
    check_shapes(
        model,
        config,
        tensors_of(model, folder),
        converted=kind == "converted",
        quantized=quantized is not None,
    )
    return Checkpoint(
        model,
        folder,
        kind,
        vocabulary=config["vocab_size"],
        max_positions=config["max_position_embeddings"],
        quantized=quantized,
        tied=config.get("tie_word_embeddings") or False,
    )


def check_unquantized(checkpoint: Checkpoint, purpose: str) -> None:
    """Raise ModelError for a quantized checkpoint where only others can be used.

    Args:
        checkpoint: a checkpoint that was found.
        purpose: what needs unquantized weights, as the subject of a sentence.
    """
    if checkpoint.quantized is not None:
        raise ModelError(
            f"{checkpoint.model} is quantized ({checkpoint.quantized}). {purpose} needs the "
            f'unquantized checkpoint, such as "{DEFAULT_MODEL}"; VLLMEngine and `qwen3-rerank '
            "serve` load quantized ones where the device can."
        )


def reranker_kind(model: str, config: Mapping[str, Any]) -> Kind:
    """Which kind of Qwen3 reranker a config.json describes.

    Qwen3's base, chat and embedding models share the reranker's architecture; they are told by
    their name, and base models by their vocabulary too.

    Raises:
        ModelError: it is none.
    """
    architectures = config.get("architectures") or ["nothing"]
    names = config.get("id2label") or (0, 1)
    tied = config.get("tie_word_embeddings")
    if not isinstance(architectures, list) or not isinstance(names, dict | tuple):
        raise ModelError(f"{model}: config.json is of no known model. {_USE}")
    if tied is not None and not isinstance(tied, bool):
        raise ModelError(
            f"{model}: tie_word_embeddings in config.json is {str(tied)[:40]!r}, neither true nor "
            "false. Fetch the model again."
        )
    if architectures == ["Qwen3ForSequenceClassification"]:
        _check_labels(model, config, config.get("num_labels") or len(names))
        kind: Kind = "converted"
    elif architectures == ["Qwen3ForCausalLM"]:
        _check_name(model, config)
        kind = "original"
    else:
        raise ModelError(f"{model} is {_description(architectures)}, no Qwen3-Reranker. {_USE}")
    if config.get("model_type", "qwen3") != "qwen3":
        raise ModelError(
            f"{model}: config.json names the model type {str(config['model_type'])[:40]!r} and a "
            f"Qwen3 architecture; loaders would disagree. {_USE}"
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
            f"{_USE}"
        )


def _description(architectures: list[Any]) -> str:
    """What a model of another architecture is, for a sentence."""
    name = ", ".join(map(str, architectures))[:100]
    for part, what in _FAMILIES:
        if part in name:
            return f"{what} ({name})"
    return f"a {name}"


def _check_name(model: str, config: Mapping[str, Any]) -> None:
    name = re.split(r"[/\\]", model.rstrip("/\\"))[-1].lower()
    cached = re.search(r"models--[^/\\]*?--([^/\\]+)", model)
    name = cached.group(1).lower() if cached else name
    if "rerank" in name:
        return
    if "embedding" in name:
        raise ModelError(f"{model} is an embedding model, not a reranker. {_USE}")
    if _BASE_NAME.fullmatch(name):
        raise ModelError(f"{model} is a base or chat model, not a reranker. {_USE}")
    if config.get("vocab_size") == _BASE_VOCABULARY and "rerank" not in model.lower():
        raise ModelError(
            f"{model} has the vocabulary of Qwen3's base and chat models, whose scores mean "
            "nothing here. If it is a reranker made from one, put 'rerank' into its folder's "
            f"name. {_USE}"
        )


def _check_folder(model: str, folder: Path) -> None:
    """Raise ModelError for a folder that is more, or something else, than one whole model."""
    modules = folder / "modules.json"
    listed = read_any_json(model, modules) if modules.is_file() else []
    entries = listed if isinstance(listed, list) else []
    types = [str(entry.get("type")) for entry in entries if isinstance(entry, dict)]
    if (folder / "1_Pooling").is_dir() or any(name.endswith(_VECTOR_MODULES) for name in types):
        raise ModelError(f"{model} is an embedding model: it has a pooling layer. {_USE}")
    settings = folder / "config_sentence_transformers.json"
    kind = read_json(model, settings).get("model_type") if settings.is_file() else None
    if kind in ("SentenceTransformer", "SparseEncoder"):
        raise ModelError(
            f"{model} is an embedding model (a {kind} of sentence-transformers). {_USE}"
        )
    if (folder / "adapter_config.json").is_file() and any(folder.glob("*.safetensors")):
        # transformers with peft would load the adapter too, and vLLM would not.
        if not any(folder.glob("model*.safetensors")):
            raise ModelError(f"{model} {format_of_folder(folder, missing='model.safetensors')}")
        raise ModelError(
            f"{model} holds a whole model and a LoRA adapter (adapter_config.json): whether the "
            "adapter is meant is unknown. Move the adapter's files into a folder of their own."
        )
    if not (folder / "tokenizer.json").is_file():
        raise ModelError(f"{model} {format_of_folder(folder, missing='tokenizer.json')}")


def _quantization(model: str, folder: Path, config: Mapping[str, Any]) -> str | None:
    """By what method the layers are quantized; None if they are not.

    Raises:
        ModelError: by one that no engine reads.
    """
    settings = config.get("quantization_config") or config.get("compression_config")
    if settings is None and not config.get("quantization"):
        files = [name for name in _QUANTIZATION_FILES if (folder / name).is_file()]
        return files[0] if files else None
    if isinstance(settings, dict) and isinstance(method := settings.get("quant_method"), str):
        return method[:40]
    raise ModelError(
        f"{model} is quantized in a way that no engine here reads: config.json names no "
        f"quant_method. MLX stores its models so. {_USE}"
    )
