"""Whether a checkpoint is a Qwen3 reranker and complete: judged from its files, in milliseconds.

Reads config.json and the headers of safetensors files, never the weights; needs neither torch nor
transformers. Finding the files is model_files.py's job.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from .errors import ModelError
from .model_files import fetch_model, find_file
from .settings import DEFAULT_MODEL

Kind = Literal["original", "converted"]

# Embedding rows of Qwen's base and chat models; the rerankers have 151,669.
_BASE_VOCABULARY: Final = 151_936
_BASE_NAME: Final = re.compile(r"qwen3-[\d.]+b(-a[\d.]+b)?(-(base|instruct|thinking|fp8).*)?")
# Bytes of a value, for the types that scoring reads; quantized models have others besides.
_WIDTHS: Final = {"F32": 4, "F16": 2, "BF16": 2}
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
    """

    model: str
    folder: Path
    kind: Kind
    vocabulary: int
    max_positions: int


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
    folder = fetch_model(model, revision)
    if (folder / "1_Pooling").is_dir():
        raise ModelError(f"{model} is an embedding model: it has a pooling layer. {_USE}")
    find_file(str(folder), "tokenizer.json")
    _check_weights(model, folder, kind, config)
    try:
        vocabulary, positions = int(config["vocab_size"]), int(config["max_position_embeddings"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"{model}: config.json lacks a readable {error}.") from error
    if vocabulary < 1 or positions < 1:
        raise ModelError(f"{model}: config.json holds a size below 1. Fetch the model again.")
    return Checkpoint(model, folder, kind, vocabulary, positions)


def reranker_kind(model: str, config: Mapping[str, Any]) -> Kind:
    """Which kind of Qwen3 reranker a config.json describes.

    Qwen3's base, chat and embedding models share the reranker's architecture; they are told by
    their name, and base models by their vocabulary too.

    Raises:
        ModelError: it is none.
    """
    architectures = config.get("architectures") or ["nothing"]
    names = config.get("id2label") or (0, 1)
    if not isinstance(architectures, list) or not isinstance(names, dict | tuple):
        raise ModelError(f"{model}: config.json is of no known model. {_USE}")
    if "Qwen3ForSequenceClassification" in architectures:
        labels = config.get("num_labels") or len(names)
        if labels != 1:
            raise ModelError(
                f"{model} is a classifier with {labels} labels; a converted reranker has 1. {_USE}"
            )
        return "converted"
    if "Qwen3ForCausalLM" not in architectures:
        raise ModelError(
            f"{model} is a {', '.join(map(str, architectures))}, no Qwen3-Reranker. {_USE}"
        )
    _check_name(model, config)
    return "original"


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


def read_json(model: str, path: Path) -> dict[str, Any]:
    """The object in a JSON file of the model.

    Raises:
        ModelError: it is not readable, or no object.
    """
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{model}: {path} cannot be read: {error}") from error
    if not isinstance(read, dict):
        raise ModelError(f"{model}: {path} holds no JSON object.")
    return read


def _check_weights(model: str, folder: Path, kind: Kind, config: Mapping[str, Any]) -> None:
    """Raise ModelError unless all shards are whole and hold what scoring needs."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        weight_map = read_json(model, index).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise ModelError(f"{model}: {index} lists no weights. Fetch the model again.")
        shards, listed = sorted(set(map(str, weight_map.values()))), set(weight_map)
    else:
        shards, listed = ["model.safetensors"], set()
    names = {name for shard in shards for name in _tensor_names(model, folder / shard)}
    needed = {"model.embed_tokens.weight", "model.norm.weight"}
    if kind == "converted":
        needed.add("score.weight")
    elif not config.get("tie_word_embeddings", False):
        needed.add("lm_head.weight")
    missing = sorted((needed | listed) - names)
    if missing:
        raise ModelError(
            f"{model}: {missing[0]} is not among its weights, nor {len(missing) - 1} others. The "
            f"download is incomplete, or this is no reranker (an embedding model has no "
            f"lm_head). {_USE}"
        )


def _tensor_names(model: str, path: Path) -> set[str]:
    """Names in a safetensors file, if the file is as long as its header says.

    Format: https://huggingface.co/docs/safetensors: eight bytes with the header's length, the
    header in JSON, the tensors.
    """
    again = "The download is incomplete: fetch the model again."
    if not path.is_file():
        raise ModelError(f"{model}: {path.name} is missing in {path.parent}. {again}")
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if 8 + length > size:
            raise ModelError(f"{model}: {path} is cut short, or a Git LFS pointer. {again}")
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            whole = 8 + length + max(_end(one) for one in header.values())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ModelError(f"{model}: {path} is no safetensors file. {again}") from error
    if size != whole:
        raise ModelError(f"{model}: {path} has {size} of {whole} bytes. {again}")
    return set(header)


def _end(entry: Any) -> int:
    """Where a tensor of a safetensors header ends; raises what Python does if it is none."""
    begin, end = entry["data_offsets"]
    values = math.prod(entry["shape"])
    width = _WIDTHS.get(entry["dtype"])
    if not 0 <= begin <= end or (width is not None and end - begin != values * width):
        raise ValueError(f"offsets {begin} and {end} for {values} values of {entry['dtype']}")
    return int(end)
