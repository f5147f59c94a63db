"""The forward pass: token ids in, one logit per prompt out.

Rows are padded on the right. Attention is causal, so no token sees the padding behind it, and
neither a padding mask nor shifted positions are needed.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any, Final

from ...errors import EngineError

# Wordings of out-of-memory errors by CUDA, NPU, MPS and the CPU's allocator.
_OUT_OF_MEMORY: Final = ("out of memory", "can't allocate memory", "not enough memory")


class ForwardPass:
    """A loaded Qwen3 model with nothing of its head but the direction from "no" to "yes".

    Not for several threads at once.

    Args:
        base: a transformers Qwen3Model in evaluation mode.
        direction: vector whose product with the last hidden state is the logit.
    """

    def __init__(self, base: Any, direction: Any) -> None:
        self._base = base
        self._direction = direction.float()
        # transformers 5.24 renamed past_key_values to cache.
        names = inspect.signature(base.forward).parameters
        self._cache_name = "cache" if "cache" in names else "past_key_values"

    def placement(self) -> dict[str, str]:
        """The device and the dtype that it computes with, by their names."""
        dtype = str(self._base.dtype).removeprefix("torch.")
        return {"device": str(self._direction.device), "dtype": dtype}

    def cache_query(self, ids: Sequence[int]) -> Any:
        """Keys and values of a query part, to be passed to `logits` with its document parts.

        Raises:
            EngineError: it does not fit into memory, or torch failed.
        """
        try:
            return self._cache_query(ids)
        # Torch, transformers and the device's drivers raise exceptions of any type.
        except Exception as error:
            raise _engine_error(error, len(ids)) from error

    def logits(self, rows: Sequence[Sequence[int]], query_cache: Any = None) -> list[float]:
        """logit("yes") - logit("no") after each row, in float32.

        Args:
            rows: whole prompts, or document parts if `query_cache` holds their query part.
            query_cache: what `cache_query` returned.

        Raises:
            EngineError: not even one row fits into memory, or torch failed.
        """
        try:
            return self._logits(rows, query_cache)
        except Exception as error:
            if len(rows) == 1 or not _is_out_of_memory(error):
                raise _engine_error(error, len(rows[0])) from error
        # Outside of the handler, whose traceback would keep the failed pass's tensors alive.
        self.free_unused()
        half = len(rows) // 2
        return self.logits(rows[:half], query_cache) + self.logits(rows[half:], query_cache)

    def free_unused(self) -> None:
        """Return memory that torch caches for reuse to the device."""
        torch = import_module("torch")
        kind = self._direction.device.type
        if kind != "cpu":
            getattr(torch, kind).empty_cache()

    def _cache_query(self, ids: Sequence[int]) -> Any:
        with import_module("torch").inference_mode():
            query_cache = _shared_cache_class()()
            self._run(self._pad([ids]), query_cache)
            query_cache.complete = True
            return query_cache

    def _logits(self, rows: Sequence[Sequence[int]], query_cache: Any) -> list[float]:
        torch = import_module("torch")
        with torch.inference_mode():
            hidden = self._run(self._pad(rows), query_cache)
            last = torch.tensor([len(row) - 1 for row in rows], device=hidden.device)
            last_hidden = hidden[torch.arange(len(rows), device=hidden.device), last]
            logits: list[float] = (last_hidden.float() @ self._direction).tolist()
        return logits

    def _pad(self, rows: Sequence[Sequence[int]]) -> Any:
        torch = import_module("torch")
        longest = max(map(len, rows))
        padded = [[*row, *(0,) * (longest - len(row))] for row in rows]
        return torch.tensor(padded, device=self._direction.device)

    def _run(self, ids: Any, query_cache: Any) -> Any:
        if query_cache is None:
            return self._base(input_ids=ids, use_cache=False).last_hidden_state
        before, after = query_cache.get_seq_length(), ids.shape[1]
        return self._base(
            input_ids=ids,
            attention_mask=self._causal_mask(before, after) if before else None,
            position_ids=_positions(before, after, ids.device),
            use_cache=True,
            **{self._cache_name: query_cache},
        ).last_hidden_state

    def _causal_mask(self, before: int, after: int) -> Any:
        """What each of `after` tokens may see of all: 0, or the lowest number for "not"."""
        torch = import_module("torch")
        options = {"dtype": self._base.dtype, "device": self._direction.device}
        mask = torch.full((after, before + after), torch.finfo(self._base.dtype).min, **options)
        return mask.triu(before + 1)[None, None]


def _positions(before: int, after: int, device: Any) -> Any:
    return import_module("torch").arange(before, before + after, device=device)[None]


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


@cache
def _shared_cache_class() -> Any:
    from transformers import DynamicCache

    class SharedCache(DynamicCache):  # type: ignore[misc]  # transformers is not typed
        """Stores the first pass's keys and values, and shares them with every row of later passes.

        Unlike a DynamicCache it never stores a later pass's, which would be one copy per layer.
        """

        complete = False

        def __init__(self) -> None:
            super().__init__()
            self._by_layer: dict[int, tuple[Any, Any]] = {}

        def get_seq_length(self, *_: Any, **__: Any) -> int:
            return self._by_layer[0][0].shape[-2] if self.complete else 0

        def update(self, keys: Any, values: Any, layer: int, *_: Any, **__: Any) -> Any:
            if not self.complete:
                self._by_layer[layer] = keys, values
                return keys, values
            torch = import_module("torch")
            first = (tensor.expand(len(keys), -1, -1, -1) for tensor in self._by_layer[layer])
            pairs = zip(first, (keys, values), strict=True)
            return tuple(torch.cat(pair, dim=-2) for pair in pairs)

    return SharedCache
