"""The forward pass: token ids in, one logit per prompt out, or keys and values of a beginning."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

from ...errors import EngineError, ModelError
from .layers import Layer, Rotation
from .packing import KeyValues, PackedRow, Packing

# Wordings of out-of-memory errors by CUDA, NPU, MPS and the CPU's allocator.
_OUT_OF_MEMORY: Final = ("out of memory", "can't allocate memory", "not enough memory")


# Measured on a CPU with four layers of the 0.6B: 1,024, 2,048 and 4,096 tokens differ by 3 %.
_CPU_PASS_TOKENS: Final = 2048
# A bound on the memory of an accelerator, not a tuned number.
_PASS_TOKENS: Final = 16_384


class ForwardPass:
    """A loaded Qwen3 model with nothing of its head but the direction from "no" to "yes".

    Not for several threads at once.

    Args:
        base: a transformers Qwen3Model in evaluation mode.
        direction: vector whose product with the last hidden state is the logit.

    Raises:
        ModelError: its attention is windowed, which no Qwen3 reranker's is.
    """

    def __init__(self, base: Any, direction: Any) -> None:
        if any(getattr(layer.self_attn, "sliding_window", None) for layer in base.layers):
            raise ModelError(
                "The model has sliding-window attention, which LocalEngine does not compute. Use "
                "VLLMEngine, or a server."
            )
        self._base = base
        self._layers = [Layer(number, layer) for number, layer in enumerate(base.layers)]
        self._direction = direction.float()

    def placement(self) -> dict[str, str]:
        """The device and the dtype that it computes with, by their names."""
        dtype = str(self._base.dtype).removeprefix("torch.")
        return {"device": str(self._direction.device), "dtype": dtype}

    def good_pass_tokens(self) -> int:
        """Tokens of one pass from which on more make it no faster, and take only memory."""
        return _CPU_PASS_TOKENS if self._direction.device.type == "cpu" else _PASS_TOKENS

    def key_values(self, rows: Sequence[PackedRow]) -> list[KeyValues]:
        """Keys and values of each row, its prefix's included.

        Raises:
            EngineError: they do not fit into memory, or torch failed.
        """
        try:
            with import_module("torch").inference_mode():
                return self._key_values(rows)
        # Torch, transformers and the device's drivers raise exceptions of any type.
        except Exception as error:
            raise _engine_error(error, max(len(row.ids) for row in rows)) from error

    def logits(self, rows: Sequence[PackedRow]) -> list[float]:
        """logit("yes") - logit("no") after each row, in float32.

        Raises:
            EngineError: not even one row fits into memory, or torch failed.
        """
        try:
            with import_module("torch").inference_mode():
                return self._logits(rows)
        except Exception as error:
            if len(rows) == 1 or not _is_out_of_memory(error):
                raise _engine_error(error, rows[0].skipped + len(rows[0].ids)) from error
        # Outside of the handler, whose traceback would keep the failed pass's tensors alive.
        self.free_unused()
        half = len(rows) // 2
        return self.logits(rows[:half]) + self.logits(rows[half:])

    def free_unused(self) -> None:
        """Return memory that torch caches for reuse to the device."""
        torch = import_module("torch")
        kind = self._direction.device.type
        if kind != "cpu":
            getattr(torch, kind).empty_cache()

    def _logits(self, rows: Sequence[PackedRow]) -> list[float]:
        packing, hidden, rotation = self._begin(rows)
        *inner, final = self._layers
        for layer in inner:
            hidden = layer.forward(hidden, layer.key_values(hidden, rotation), rotation, packing)
        last_hidden = self._base.norm(final.forward_last(hidden, rotation, packing))
        logits: list[float] = (last_hidden.float() @ self._direction).tolist()
        return logits

    def _key_values(self, rows: Sequence[PackedRow]) -> list[KeyValues]:
        packing, hidden, rotation = self._begin(rows)
        by_row: list[list[tuple[Any, Any]]] = [[] for _ in rows]
        for layer in self._layers:
            keys_and_values = layer.key_values(hidden, rotation)
            for layers, row, (start, end) in zip(by_row, rows, packing.ranges, strict=True):
                own = (tensor[start:end].transpose(0, 1) for tensor in keys_and_values)
                layers.append(_after_prefix(row, len(layers), *own))
            if layer is not self._layers[-1]:
                hidden = layer.forward(hidden, keys_and_values, rotation, packing)
        return [
            KeyValues(row.skipped + len(row.ids), layers)
            for row, layers in zip(rows, by_row, strict=True)
        ]

    def _begin(self, rows: Sequence[PackedRow]) -> tuple[Packing, Any, Rotation]:
        packing = Packing(rows, self._direction.device, self._base.dtype)
        hidden = self._base.embed_tokens(packing.ids)
        cos, sin = self._base.rotary_emb(hidden, packing.positions)
        return packing, hidden[0], Rotation(cos[0], sin[0])


def _after_prefix(row: PackedRow, layer: int, keys: Any, values: Any) -> tuple[Any, Any]:
    """Copies: a view would keep the whole pass's alive."""
    if row.prefix is None:
        return keys.contiguous(), values.contiguous()
    torch = import_module("torch")
    before = row.prefix.layers[layer]
    return torch.cat((before[0], keys), dim=1), torch.cat((before[1], values), dim=1)


def _is_out_of_memory(error: BaseException) -> bool:
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(wording in words for wording in _OUT_OF_MEMORY)


def _engine_error(error: Exception, tokens: int) -> EngineError:
    if _is_out_of_memory(error):
        return EngineError(
            f"There is not enough memory for one prompt of {tokens} tokens. Lower max_length, take "
            "a smaller model or dtype, or free the device's memory."
        )
    return EngineError(
        f"The forward pass failed: {error}. If it goes on, run `qwen3-rerank doctor`."
    )
