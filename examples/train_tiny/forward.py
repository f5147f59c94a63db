"""The training forward pass: the same Qwen3 weights, without the work that pairs share.

The prefix is computed once per batch and the query once per group; the last layer computes
only the position that the score is read from. transformers' own forward gives equal logits.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Qwen3ForCausalLM


@dataclass(frozen=True)
class Batch:
    """Token ids; groups of equal size share a query. Padding is on the right, with id 0."""

    prefix: Tensor  # [P]
    queries: Tensor  # [G, Q]
    query_lengths: Tensor  # [G]
    documents: Tensor  # [G * n, D]
    document_lengths: Tensor  # [G * n]
    targets: Tensor  # [G, n], what the loss wants
    positives: Tensor  # [G, n], 1 where the document answers the query


class Noise:
    """Multiplies activations by 1 + level * normal, so that bf16 rounding finds a trained model.

    The normal numbers are drawn once and read at random offsets: drawing them anew would cost
    a sixth of the step.
    """

    def __init__(self, seed: int, size: int = 1 << 22) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._pool = torch.randn(size, generator=self._generator)
        self.level = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        if not self.level:
            return x
        count = x.numel()
        pool = self._pool
        if count > len(pool):
            pool = pool.repeat(-(-count // len(pool)))
        start = int(torch.randint(len(pool) - count + 1, (1,), generator=self._generator))
        return x * (1 + self.level * pool[start : start + count].view_as(x))


KeysValues = tuple[Tensor, Tensor]


class Network:
    """Runs a Qwen3ForCausalLM's weights over a Batch."""

    def __init__(self, model: Qwen3ForCausalLM, yes: int, no: int, noise: Noise) -> None:
        self._model = model
        self._yes, self._no = yes, no
        self._noise = noise
        head_dim = model.config.head_dim
        rates = 1_000_000.0 ** (-torch.arange(0, head_dim, 2) / head_dim)
        angles = torch.arange(4096)[:, None] * rates.repeat(2)
        self._cos, self._sin = angles.cos(), angles.sin()

    def logits(self, batch: Batch) -> Tensor:
        """yes minus no for each document, [G, n]."""
        embed = self._model.model.embed_tokens
        p, q = len(batch.prefix), batch.queries.shape[1]
        groups = len(batch.queries)
        n = len(batch.documents) // groups
        prefix = embed(batch.prefix)[None]
        query = embed(batch.queries)
        document = embed(batch.documents)
        query_at = torch.arange(p, p + q)[None].expand(groups, q)
        starts = (p + batch.query_lengths).repeat_interleave(n)
        document_at = starts[:, None] + torch.arange(batch.documents.shape[1])
        query_mask = _causal(q, torch.ones(groups, p, dtype=torch.bool))
        shown = torch.arange(q)[None] < batch.query_lengths[:, None]
        shown = torch.cat([torch.ones(groups, p, dtype=torch.bool), shown], 1)
        document_mask = _causal(batch.documents.shape[1], shown.repeat_interleave(n, 0))
        last = batch.document_lengths - 1
        for number, layer in enumerate(self._model.model.layers):
            final = number == len(self._model.model.layers) - 1
            prefix, shared = self._layer(layer, prefix, torch.arange(p)[None], None, None)
            shared = _expand(shared, groups)
            query, own = self._layer(layer, query, query_at, shared, query_mask)
            before = tuple(torch.cat(pair, 2) for pair in zip(shared, own, strict=True))
            before = tuple(x.repeat_interleave(n, 0) for x in before)
            document, _ = self._layer(
                layer, document, document_at, before, document_mask, last if final else None
            )
        state = self._noise(self._model.model.norm(document[:, 0]))
        weight = embed.weight
        return (state @ (weight[self._yes] - weight[self._no])).view(groups, n)

    def _layer(
        self,
        layer: torch.nn.Module,
        x: Tensor,
        at: Tensor,
        before: tuple[Tensor, ...] | None,
        mask: Tensor | None,
        last: Tensor | None = None,
    ) -> tuple[Tensor, KeysValues]:
        noise, attention = self._noise, layer.self_attn
        y = noise(layer.input_layernorm(x))
        key = self._turn(noise(attention.k_norm(_split(attention.k_proj(y)))), at)
        value = noise(_split(attention.v_proj(y))).transpose(1, 2)
        if last is not None and mask is not None:
            rows = torch.arange(len(x))
            x, y, at = x[rows, last, None], y[rows, last, None], at[rows, last, None]
            mask = mask[rows, :, last, None]
        query = self._turn(noise(attention.q_norm(_split(attention.q_proj(y)))), at)
        keys, values = key, value
        if before is not None:
            keys, values = torch.cat([before[0], key], 2), torch.cat([before[1], value], 2)
        mixed = F.scaled_dot_product_attention(
            query, keys, values, attn_mask=mask, is_causal=mask is None
        )
        x = x + noise(attention.o_proj(noise(mixed.transpose(1, 2).flatten(2))))
        y = noise(layer.post_attention_layernorm(x))
        return x + noise(layer.mlp(y)), (key, value)

    def _turn(self, x: Tensor, at: Tensor) -> Tensor:
        """Rotary positions, as Qwen3's: x is [B, L, heads, head_dim]."""
        x = x.transpose(1, 2)
        cos, sin = self._cos[at][:, None], self._sin[at][:, None]
        left, right = x.chunk(2, -1)
        return x * cos + torch.cat([-right, left], -1) * sin


def _split(x: Tensor) -> Tensor:
    return x.view(*x.shape[:-1], -1, 64)


def _expand(pair: KeysValues, groups: int) -> KeysValues:
    return pair[0].expand(groups, -1, -1, -1), pair[1].expand(groups, -1, -1, -1)


def _causal(length: int, before: Tensor) -> Tensor:
    """[B, 1, length, before + length]: all shown positions before, and the own past."""
    own = torch.ones(length, length, dtype=torch.bool).tril()
    own = own.expand(len(before), length, length)
    return torch.cat([before[:, None].expand(-1, length, -1), own], 2)[:, None]
