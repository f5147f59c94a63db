"""Which tensors the model that a config.json describes has, and whether a checkpoint holds these.

A loader takes the tensors that fit and ignores the others, so that a config.json with too few
layers, or an embedding of another size, would score without an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from ..errors import ModelError
from .weight_files import DTYPE_BYTES, Tensor

EMBEDDING: Final = "model.embed_tokens.weight"
HEAD: Final = "lm_head.weight"
SCORE: Final = "score.weight"
NORM: Final = "model.norm.weight"
_SIZES: Final = (
    "vocab_size",
    "max_position_embeddings",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
)
_OPTIONAL_SIZES: Final = ("num_key_value_heads", "head_dim")
_SIZE_LIMIT: Final = 1 << 31
_LAYER: Final = re.compile(r"model\.layers\.(\d{1,9})\.")
# Stored by old versions of transformers; all versions compute it on loading.
_COMPUTED_BUFFERS: Final = re.compile(r"rotary_emb\.inv_freq$")
_MISMATCH_ADVICE: Final = (
    "config.json and the weights do not fit: fetch the model again, all files from one place."
)

Shape = tuple[int, ...]


def check_shapes(
    model: str,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    converted: bool,
    quantized: bool,
) -> None:
    """Raise ModelError unless the tensors are those of the model that config.json describes.

    Args:
        model: for messages.
        config: of the model; its sizes were checked.
        tensors: in the model's files.
        converted: whether the head is `score.weight`.
        quantized: whether the layers' tensors have other names, types and shapes.
    """
    expected = _outer_shapes(config, converted=converted, has_head=HEAD in tensors)
    _check_present(model, expected, tensors)
    # Before the layers' shapes are listed: config.json can name a billion layers.
    _check_layers(model, config["num_hidden_layers"], tensors)
    if not quantized:
        expected |= _layer_shapes(config)
        _check_present(model, expected, tensors)
    for name, shape in expected.items():
        _check_tensor(model, name, tensors[name], shape)
    unexpected = sorted(set(tensors) - expected.keys() - {HEAD})
    unexpected = [name for name in unexpected if not _COMPUTED_BUFFERS.search(name)]
    if unexpected and not quantized:
        raise ModelError(
            f"{model}: {unexpected[0]} and {len(unexpected) - 1} others among its weights are no "
            "part of the Qwen3 model that config.json describes. Merge adapters first. "
            f"{_MISMATCH_ADVICE}"
        )


def check_sizes(model: str, config: Mapping[str, Any]) -> None:
    """Raise ModelError unless what config.json says of sizes and arithmetic can be used."""
    for name in (*_SIZES, *_OPTIONAL_SIZES):
        value = config.get(name)
        if value is None and name in _OPTIONAL_SIZES:
            continue
        if value is None:
            raise ModelError(f"{model}: config.json lacks a readable {name!r}. {_MISMATCH_ADVICE}")
        if type(value) is not int or not 1 <= value < _SIZE_LIMIT:
            raise _invalid(model, name, value, "no whole number above 0 of a model's size")
    for name in ("rms_norm_eps", "rope_theta"):
        value = config.get(name)
        if value is None:
            continue
        if type(value) not in (int, float) or not 0 < value < math.inf:
            raise _invalid(model, name, value, "no number above 0")
    for name in ("rope_parameters", "rope_scaling"):
        value = config.get(name)
        if value is not None and not isinstance(value, dict):
            raise _invalid(model, name, value, "no object")
    if config.get("hidden_act", "silu") != "silu":
        raise _invalid(model, "hidden_act", config["hidden_act"], "not 'silu' as in every Qwen3")
    if not isinstance(config.get("attention_bias", False), bool):
        raise _invalid(model, "attention_bias", config["attention_bias"], "neither true nor false")


def _invalid(model: str, name: str, value: object, reason: str) -> ModelError:
    return ModelError(
        f"{model}: {name} in config.json is {str(value)[:40]!r}, {reason}. {_MISMATCH_ADVICE}"
    )


def _outer_shapes(
    config: Mapping[str, Any], *, converted: bool, has_head: bool
) -> dict[str, Shape]:
    rows, width = config["vocab_size"], config["hidden_size"]
    shapes: dict[str, Shape] = {EMBEDDING: (rows, width), NORM: (width,)}
    if converted:
        shapes[SCORE] = (1, width)
    elif has_head or not config.get("tie_word_embeddings"):
        shapes[HEAD] = (rows, width)
    return shapes


def _layer_shapes(config: Mapping[str, Any]) -> dict[str, Shape]:
    """Shapes of all layers' tensors (transformers, modeling_qwen3.py)."""
    width, inner, heads = (
        config[name] for name in ("hidden_size", "intermediate_size", "num_attention_heads")
    )
    # The defaults of transformers' Qwen3Config.
    head = config.get("head_dim") or 128
    queries, keys = heads * head, (config.get("num_key_value_heads") or heads) * head
    layer: dict[str, Shape] = {
        "input_layernorm.weight": (width,),
        "post_attention_layernorm.weight": (width,),
        "mlp.gate_proj.weight": (inner, width),
        "mlp.up_proj.weight": (inner, width),
        "mlp.down_proj.weight": (width, inner),
        "self_attn.q_norm.weight": (head,),
        "self_attn.k_norm.weight": (head,),
    }
    for name, outputs, inputs in (
        ("q", queries, width),
        ("k", keys, width),
        ("v", keys, width),
        ("o", width, queries),
    ):
        layer[f"self_attn.{name}_proj.weight"] = (outputs, inputs)
        if config.get("attention_bias"):
            layer[f"self_attn.{name}_proj.bias"] = (outputs,)
    return {
        f"model.layers.{number}.{name}": shape
        for number in range(config["num_hidden_layers"])
        for name, shape in layer.items()
    }


def _check_present(
    model: str, expected: Mapping[str, Shape], tensors: Mapping[str, Tensor]
) -> None:
    missing_names = sorted(expected.keys() - tensors.keys())
    if not missing_names:
        return
    if EMBEDDING in missing_names and EMBEDDING.removeprefix("model.") in tensors:
        raise ModelError(
            f"{model} holds a Qwen3 body without a head, as embedding models do, not a reranker. "
            "Give a reranker's folder."
        )
    if missing_names == [SCORE] and len(tensors) > 1:
        raise ModelError(
            f"{model}: {SCORE} is not among its weights, although config.json says "
            "Qwen3ForSequenceClassification. If this is an original reranker, restore its own "
            "config.json (Qwen3ForCausalLM); `qwen3-rerank convert` makes a classifier of it."
        )
    head = " An embedding model has no lm_head." if missing_names == [HEAD] else ""
    raise ModelError(
        f"{model}: {missing_names[0]} is not among its weights, nor {len(missing_names) - 1} "
        "others that config.json calls for: that part of the model would be random numbers. The "
        f"download is incomplete, or this is no reranker.{head} {_MISMATCH_ADVICE}"
    )


def _check_tensor(model: str, name: str, tensor: Tensor, shape: Shape) -> None:
    if tensor.shape != shape:
        raise ModelError(
            f"{model}: {name} has the shape {list(tensor.shape)}, and by config.json "
            f"{list(shape)}. {_MISMATCH_ADVICE}"
        )
    if tensor.dtype not in DTYPE_BYTES:
        raise ModelError(
            f"{model}: {name} holds {tensor.dtype} values, and config.json says nothing of "
            f"quantization; {', '.join(DTYPE_BYTES)} can be used. Take the unquantized checkpoint."
        )


def _check_layers(model: str, layers: int, tensors: Mapping[str, Tensor]) -> None:
    numbers = {int(match[1]) for match in map(_LAYER.match, tensors) if match is not None}
    if numbers and max(numbers) >= layers:
        raise ModelError(
            f"{model}: its weights have {max(numbers) + 1} layers, and by config.json {layers}. "
            f"Only a part of the model would be used. {_MISMATCH_ADVICE}"
        )
    if len(numbers) < layers:
        raise ModelError(
            f"{model}: its weights have {len(numbers)} layers, and by config.json {layers}: the "
            f"others would be random numbers. {_MISMATCH_ADVICE}"
        )
