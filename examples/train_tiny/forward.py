"""The training forward pass: the same Qwen3 weights, without the work that pairs share.

The prefix is computed once per batch and the query once per group; padding is left to
attention alone, and the last layer computes only the position that the score is read from.
transformers' own forward gives equal logits.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Qwen3ForCausalLM


@dataclass(frozen=True)
class Batch:
    """Token ids; groups of equal size share a query. Padding is on the right, with id 0."""

    prefix: Tensor  # [P]
    queries: Tensor  # [G, Q]
    query_lengths: Tensor  # [G]
    documents: Tensor  # [G * n, D]
    document_lengths: Tensor  # [G * n]
    wanted: Tensor  # [G, n], what the loss aims at


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


@dataclass(frozen=True)
class _Packing:
    """Where the real tokens of a padded batch lie: all but attention runs on them alone."""

    shape: tuple[int, int]
    spots: Tensor  # [T], row * width + column
    last: Tensor  # [B], the packed index of each row's final token

    @classmethod
    def of(cls, lengths: Tensor, width: int) -> "_Packing":
        shown = torch.arange(width)[None] < lengths[:, None]
        return cls((len(lengths), width), shown.flatten().nonzero()[:, 0], lengths.cumsum(0) - 1)

    def pack(self, x: Tensor) -> Tensor:
        return x.flatten(0, 1).index_select(0, self.spots)

    def unpack(self, x: Tensor) -> Tensor:
        rows, width = self.shape
        empty = x.new_zeros(rows * width, *x.shape[1:])
        return empty.index_copy(0, self.spots, x).view(rows, width, *x.shape[1:])


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
        p, (groups, q) = len(batch.prefix), batch.queries.shape
        rows, width = batch.documents.shape
        n = rows // groups
        packing = _Packing.of(batch.document_lengths, width)
        prefix, query = embed(batch.prefix)[None], embed(batch.queries)
        document = embed(batch.documents.flatten()[packing.spots])
        query_at = torch.arange(p, p + q)[None].expand(groups, q)
        starts = (p + batch.query_lengths).repeat_interleave(n)
        document_at = packing.pack(starts[:, None] + torch.arange(width))
        system = torch.ones(groups, p, dtype=torch.bool)
        query_mask = _causal(q, system)
        shown = torch.cat([system, torch.arange(q)[None] < batch.query_lengths[:, None]], 1)
        document_mask = _causal(width, shown.repeat_interleave(n, 0))
        layers = self._model.model.layers
        for number, layer in enumerate(layers):
            prefix, shared = self._layer(layer, prefix, torch.arange(p)[None])
            shared = (shared[0].expand(groups, -1, -1, -1), shared[1].expand(groups, -1, -1, -1))
            query, own = self._layer(layer, query, query_at, shared, query_mask)
            key, value = (torch.cat(pair, 2) for pair in zip(shared, own, strict=True))
            before = key.repeat_interleave(n, 0), value.repeat_interleave(n, 0)
            final = number == len(layers) - 1
            document = self._documents(
                layer, document, document_at, before, document_mask, packing, final
            )
        state = self._noise(self._model.model.norm(document))
        weight = embed.weight
        return (state @ (weight[self._yes] - weight[self._no])).view(groups, n)

    def _layer(
        self,
        layer: torch.nn.Module,
        x: Tensor,
        at: Tensor,
        before: KeysValues | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, KeysValues]:
        """One layer over a padded batch, and the keys and values that later parts need."""
        y = self._noise(layer.input_layernorm(x))
        query, key, value = (part.transpose(1, 2) for part in self._heads(layer, y, at))
        keys, values = key, value
        if before is not None:
            keys, values = torch.cat([before[0], key], 2), torch.cat([before[1], value], 2)
        mixed = functional.scaled_dot_product_attention(
            query, keys, values, attn_mask=mask, is_causal=mask is None
        )
        return self._finish(layer, x, mixed.transpose(1, 2).flatten(2)), (key, value)

    def _documents(
        self,
        layer: torch.nn.Module,
        x: Tensor,
        at: Tensor,
        before: KeysValues,
        mask: Tensor,
        packing: _Packing,
        final: bool,
    ) -> Tensor:
        """One layer over packed documents; the final one keeps each document's last token only."""
        y = self._noise(layer.input_layernorm(x))
        query, key, value = self._heads(layer, y, at)
        key, value = (packing.unpack(part).transpose(1, 2) for part in (key, value))
        keys, values = torch.cat([before[0], key], 2), torch.cat([before[1], value], 2)
        if not final:
            padded = packing.unpack(query).transpose(1, 2)
            mixed = functional.scaled_dot_product_attention(padded, keys, values, attn_mask=mask)
            return self._finish(layer, x, packing.pack(mixed.transpose(1, 2)).flatten(1))
        width = packing.shape[1]
        column = packing.spots[packing.last] % width
        mask = mask[torch.arange(len(mask)), :, column, None]
        query = query[packing.last, :, None]
        mixed = functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
        return self._finish(layer, x[packing.last], mixed.flatten(1))

    def _heads(self, layer: torch.nn.Module, y: Tensor, at: Tensor) -> tuple[Tensor, ...]:
        noise, attention = self._noise, layer.self_attn
        query = self._turn(noise(attention.q_norm(_split(attention.q_proj(y)))), at)
        key = self._turn(noise(attention.k_norm(_split(attention.k_proj(y)))), at)
        return query, key, noise(_split(attention.v_proj(y)))

    def _finish(self, layer: torch.nn.Module, x: Tensor, mixed: Tensor) -> Tensor:
        noise = self._noise
        x = x + noise(layer.self_attn.o_proj(noise(mixed)))
        return x + noise(layer.mlp(noise(layer.post_attention_layernorm(x))))

    def _turn(self, x: Tensor, at: Tensor) -> Tensor:
        """Rotary positions, as Qwen3's: x is [..., heads, head_dim]."""
        left, right = x.chunk(2, -1)
        turned = torch.cat([-right, left], -1)
        return x * self._cos[at].unsqueeze(-2) + turned * self._sin[at].unsqueeze(-2)


def _split(x: Tensor) -> Tensor:
    return x.view(*x.shape[:-1], -1, 64)


def _causal(length: int, before: Tensor) -> Tensor:
    """[B, 1, length, before + length]: all shown positions before, and the own past."""
    own = torch.ones(length, length, dtype=torch.bool).tril()
    own = own.expand(len(before), length, length)
    return torch.cat([before[:, None].expand(-1, length, -1), own], 2)[:, None]
