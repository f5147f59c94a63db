"""One decoder layer over packed rows: transformers' own modules, put together here.

A model's own forward pads rows and computes every token of every layer. The order of the steps is
that of transformers' modeling_qwen3 (Qwen3 technical report, section 2).
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from .packing import Packing


class Rotation:
    """Rotary position embedding (Su et al. 2021) of some tokens.

    Args:
        cos: of shape [tokens, head size].
        sin: likewise.
    """

    def __init__(self, cos: Any, sin: Any) -> None:
        self._cos, self._sin = cos, sin

    def apply(self, heads: Any) -> Any:
        """Rotated queries or keys of shape [tokens, heads, head size]."""
        half = heads.shape[-1] // 2
        cos, sin = self._cos[:, None], self._sin[:, None]
        first, second = heads[..., :half], heads[..., half:]
        rotated = heads * cos
        rotated[..., :half].addcmul_(second, sin[..., :half], value=-1)
        rotated[..., half:].addcmul_(first, sin[..., half:])
        return rotated

    def of(self, tokens: Any) -> Rotation:
        """That of some of the tokens, by index."""
        return Rotation(self._cos[tokens], self._sin[tokens])


class Layer:
    """A decoder layer.

    Args:
        number: from 0.
        module: transformers' Qwen3DecoderLayer.
    """

    def __init__(self, number: int, module: Any) -> None:
        self._number = number
        self._module, self._attention = module, module.self_attn

    def key_values(self, hidden: Any, rotation: Rotation) -> tuple[Any, Any]:
        """Keys and values of all tokens, each of shape [tokens, heads, head size]."""
        return self._keys_and_values(self._module.input_layernorm(hidden), rotation)

    def forward(
        self, hidden: Any, keys_and_values: tuple[Any, Any], rotation: Rotation, packing: Packing
    ) -> Any:
        """The hidden states after this layer, of shape [tokens, hidden size]."""
        queries = self._queries(self._module.input_layernorm(hidden), rotation)
        attended = queries.new_empty(queries.shape)
        keys, values = keys_and_values
        for group in packing.groups:
            group_keys, group_values = group.with_prefix(
                self._number, group.gather(keys), group.gather(values)
            )
            mask = group.causal_mask
            heads = self._attend(
                group.gather(queries), group_keys, group_values, mask, causal=mask is None
            )
            group.scatter(heads, attended)
        return self._after_attention(hidden, attended)

    def forward_last(self, hidden: Any, rotation: Rotation, packing: Packing) -> Any:
        """The same for the last token of each row, of shape [rows, hidden size]."""
        normed, last = self._module.input_layernorm(hidden), packing.last
        keys, values = self._keys_and_values(normed, rotation)
        queries = self._queries(normed[last], rotation.of(last))
        attended = queries.new_empty(queries.shape)
        for group in packing.groups:
            group_keys, group_values = group.with_prefix(
                self._number, group.gather(keys), group.gather(values)
            )
            of_group = queries[group.members][:, :, None]
            heads = self._attend(of_group, group_keys, group_values, group.last_mask)
            attended[group.members] = heads[:, :, 0]
        return self._after_attention(hidden[last], attended)

    def _queries(self, normed: Any, rotation: Rotation) -> Any:
        attention = self._attention
        heads = attention.q_proj(normed).unflatten(-1, (-1, attention.head_dim))
        return rotation.apply(attention.q_norm(heads))

    def _keys_and_values(self, normed: Any, rotation: Rotation) -> tuple[Any, Any]:
        attention = self._attention
        keys = attention.k_proj(normed).unflatten(-1, (-1, attention.head_dim))
        values = attention.v_proj(normed).unflatten(-1, (-1, attention.head_dim))
        return rotation.apply(attention.k_norm(keys)), values

    def _attend(
        self, queries: Any, keys: Any, values: Any, mask: Any, *, causal: bool = False
    ) -> Any:
        shares_heads = _shares_heads(queries.device.type, mask is not None)
        if not shares_heads:
            repeats = queries.shape[1] // keys.shape[1]
            keys, values = (heads.repeat_interleave(repeats, dim=1) for heads in (keys, values))
        return import_module("torch").nn.functional.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=mask,
            is_causal=causal and queries.shape[2] > 1,
            scale=self._attention.scaling,
            **({"enable_gqa": True} if shares_heads else {}),
        )

    def _after_attention(self, hidden: Any, attended: Any) -> Any:
        module = self._module
        hidden = hidden + self._attention.o_proj(attended.flatten(1))
        return hidden + module.mlp(module.post_attention_layernorm(hidden))


@cache
def _shares_heads(device: str, has_mask: bool) -> bool:
    """Whether torch's attention takes fewer heads of keys than of queries.

    On other devices than a CPU it does so with a mask only by its slowest kernel, if at all
    (transformers, integrations/sdpa_attention.py).
    """
    version = import_module("torch").__version__.split(".")
    is_new = tuple(int(part) for part in version[:2]) >= (2, 5)
    return is_new and (device == "cpu" or (device in ("cuda", "npu") and not has_mask))
