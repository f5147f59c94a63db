"""A float32 forward pass with one layer in memory at a time, for models larger than memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from ...errors import MissingDependencyError, ModelError, RerankError
from ..weight_files import Tensor
from .tensors import load, load_rows


def last_states(
    folder: Path, tensors: Mapping[str, Tensor], prompts: Sequence[Sequence[int]]
) -> Any:
    """The normalised hidden state after each prompt, one row each.

    Raises:
        MissingDependencyError: torch or transformers is not installed.
        ModelError: config.json and the weights do not fit.
    """
    try:
        return _last_states(folder, tensors, prompts)
    except (RerankError, OSError, MemoryError):
        raise
    except Exception as error:
        raise ModelError(
            f"{folder}: no score can be computed: {error}. If that is not a lack of memory, its "
            "config.json and its weights do not fit: fetch the model again."
        ) from error


def _last_states(
    folder: Path, tensors: Mapping[str, Tensor], prompts: Sequence[Sequence[int]]
) -> Any:
    torch, modeling, config = _libraries(folder)
    with torch.inference_mode():
        embedding = tensors["model.embed_tokens.weight"]
        states = [load_rows(embedding, token_ids)[None] for token_ids in prompts]
        rotary = modeling.Qwen3RotaryEmbedding(config)
        rotations = [_rotary_embedding(torch, rotary, state) for state in states]
        for number in range(config.num_hidden_layers):
            layer = _layer(torch, modeling, config, number, tensors)
            states = [
                _apply_layer(layer, state, *rotation)
                for state, rotation in zip(states, rotations, strict=True)
            ]
            # Before the next layer is loaded, or two would be in memory.
            del layer
        norm = modeling.Qwen3RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        norm.load_state_dict({"weight": load(tensors["model.norm.weight"])})
        return torch.stack([norm(state[0, -1]) for state in states])


def _libraries(folder: Path) -> tuple[Any, Any, Any]:
    try:
        torch = import_module("torch")
        transformers = import_module("transformers")
        modeling = import_module("transformers.models.qwen3.modeling_qwen3")
    except ImportError as error:
        raise MissingDependencyError(
            "Conversion needs torch and transformers: pip install 'qwen3-ascend-retrievers[local]'"
        ) from error
    config = transformers.Qwen3Config.from_pretrained(folder)
    config._attn_implementation = "sdpa"
    return torch, modeling, config


def _layer(
    torch: Any, modeling: Any, config: Any, number: int, tensors: Mapping[str, Tensor]
) -> Any:
    """One decoder layer with its weights, in evaluation mode."""
    with torch.device("meta"):
        layer = modeling.Qwen3DecoderLayer(config, number)
    prefix = f"model.layers.{number}."
    names = [name for name in tensors if name.startswith(prefix)]
    weights = {name.removeprefix(prefix): load(tensors[name]) for name in names}
    layer.load_state_dict(weights, assign=True)
    return layer.eval()


def _rotary_embedding(torch: Any, rotary: Any, states: Any) -> tuple[Any, Any]:
    """The positions of a prompt's tokens, and their rotary embedding."""
    positions = torch.arange(states.shape[1])[None]
    return positions, rotary(states, positions)


def _apply_layer(layer: Any, states: Any, positions: Any, rotation: Any) -> Any:
    output = layer(
        states, attention_mask=None, position_ids=positions, position_embeddings=rotation
    )
    # transformers before 4.54 returned a tuple.
    return output[0] if isinstance(output, tuple) else output
