"""The weights that training starts from: a matching circuit laid by hand into a small Qwen3.

Started at random, a model of this size stays at chance for hundreds of thousands of pairs.
Started like this it ranks before the first step, and training only has to improve it:

- layer 0, head 0 tells each token whether it stands in the query or in the document;
- layer 1 lets each document token look for similar query tokens (Wq = Wk);
- layer 2 gathers matches, query words and document words, and its MLP multiplies the two gathered
  vectors, so the last token holds their similarity;
- layer 3 is left to training.

Each hand-made axis is a random direction of the residual stream or of the slow rotary
dimensions: in one dimension alone, bfloat16 rounding would not average out.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Qwen3Config, Qwen3ForCausalLM
from vocabulary import SIZE

HIDDEN, LAYERS, HEADS, HEAD_DIM, FFN = 192, 4, 4, 64, 384
SEMANTIC = 152
POOLED = 64
_SHARPNESS = 2.0
# Rotary pair i turns by 1e6 ** (-i / 32) per token: from 20 on, position hardly matters.
_SLOW = 20


@dataclass(frozen=True)
class TokenFacts:
    """What is known of each token before training: a unit vector and a weight in [0, 1]."""

    vectors: NDArray[np.float32]
    weights: NDArray[np.float32]


class _Axes:
    """Orthonormal directions of the residual stream, by name."""

    names = ("one", "info", "rest", "query_mark", "document_mark", "sink", "in_query",
             "in_document", "match", "answer")  # fmt: skip

    def __init__(self, rng: np.random.Generator) -> None:
        basis = np.linalg.qr(rng.standard_normal((HIDDEN, HIDDEN)))[0].T
        self.semantic = basis[:SEMANTIC]
        self._named = dict(zip(self.names, basis[SEMANTIC:], strict=False))

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        return self._named[name]


def build(facts: TokenFacts, marks: dict[str, int], seed: int) -> Qwen3ForCausalLM:
    """A model with the circuit in place; `marks` names the ids of yes, no and the markers."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = Qwen3ForCausalLM(config(marks)).float()
    axes = _Axes(rng)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                weight.normal_(0.0, 0.02 if "embed" not in name else 0.0)
        _set(model.model.embed_tokens.weight, _embeddings(facts, marks, axes))
        layers = model.model.layers
        _mark_segments(layers[0].self_attn, axes, rng)
        for head in range(HEADS):
            _match(layers[1].self_attn, head, axes, rng)
        _gather(layers[2].self_attn, axes, rng)
        _multiply(layers[2].mlp, axes)
        for layer in layers[:3]:
            layer.self_attn.q_norm.weight.fill_(_SHARPNESS**0.5)
            layer.self_attn.k_norm.weight.fill_(_SHARPNESS**0.5)
    return model


def config(marks: dict[str, int]) -> Qwen3Config:
    """The shape; a head of 64 is one that vLLM's CPU build takes."""
    return Qwen3Config(
        vocab_size=SIZE, hidden_size=HIDDEN, intermediate_size=FFN, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=HEADS, head_dim=HEAD_DIM,
        max_position_embeddings=8192, rope_theta=1_000_000.0, rms_norm_eps=1e-6,
        tie_word_embeddings=True, attention_bias=False, use_cache=True,
        bos_token_id=marks["end"], eos_token_id=marks["stop"], pad_token_id=marks["end"],
    )  # fmt: skip


def _embeddings(facts: TokenFacts, marks: dict[str, int], axes: _Axes) -> NDArray[np.float64]:
    info = facts.weights[:, None].astype(np.float64)
    table = 2.5 * (0.3 + 0.7 * info) * (facts.vectors @ axes.semantic)
    table += axes["one"] + 1.5 * info * axes["info"] + 1.5 * (1 - info) * axes["rest"]
    for mark in ("query_mark", "document_mark", "sink"):
        table[marks[mark]] = axes["one"] + 4.0 * axes[mark] + 1.5 * axes["rest"]
    # The score is read along this one axis; the two rows only differ by it.
    table[marks["yes"]] += 0.5 * axes["answer"]
    table[marks["no"]] -= 0.5 * axes["answer"]
    return table


def _slow_directions(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Orthonormal rows within the slow rotary dimensions of one head."""
    half = HEAD_DIM // 2
    columns = [i for i in range(HEAD_DIM) if i % half >= _SLOW]
    rows = np.zeros((count, HEAD_DIM))
    rows[:, columns] = np.linalg.qr(rng.standard_normal((len(columns), count)))[0].T
    return rows


def _mark_segments(attention: torch.nn.Module, axes: _Axes, rng: np.random.Generator) -> None:
    """Look for the nearest marker: the document's if there is one, else the query's."""
    aim, filler = _slow_directions(rng, 2)
    _head(attention.q_proj, 0, np.outer(aim, axes["one"]))
    key = np.outer(aim, 0.75 * axes["document_mark"] + 0.27 * axes["query_mark"] - axes["one"])
    _head(attention.k_proj, 0, key + np.outer(filler, axes["one"]))
    value, out = _carry([axes["query_mark"], axes["document_mark"]],
                        [axes["in_query"], axes["in_document"]], rng)  # fmt: skip
    _head(attention.v_proj, 0, value)
    _head_out(attention.o_proj, 0, 0.12 * out)


def _match(attention: torch.nn.Module, head: int, axes: _Axes, rng: np.random.Generator) -> None:
    """Equal or similar tokens attend to each other, but only from the document to the query."""
    rows = _slow_directions(rng, HEAD_DIM - 2 * _SLOW)
    aim, spread = rows[0], rows[1:]
    # A random projection of all semantic axes: each head errs differently.
    mix = rng.standard_normal((len(spread), SEMANTIC)) / len(spread) ** 0.5
    alike = spread.T @ mix @ axes.semantic
    _head(attention.q_proj, head, alike + np.outer(aim, axes["one"]) * 1.8)
    seat = 2.0 * axes["in_query"] + 0.8 * axes["sink"] - axes["in_document"] - axes["one"]
    _head(attention.k_proj, head, alike + np.outer(aim, seat))
    value, out = _carry([axes["info"]], [axes["match"]], rng)
    _head(attention.v_proj, head, value)
    _head_out(attention.o_proj, head, 0.08 * out)


def _gather(attention: torch.nn.Module, axes: _Axes, rng: np.random.Generator) -> None:
    """Gather matches (head 0, 1), query words (head 2) and document words (head 3)."""
    found = axes["in_document"] - axes["in_query"] - axes["one"]
    seats = (
        1.5 * axes["match"] + found,
        3.0 * axes["match"] + found,
        2 * axes["in_query"] - 2 * axes["in_document"] + axes["info"] - axes["rest"],
        2 * axes["in_document"] - 2 * axes["in_query"] + axes["info"] - axes["rest"],
    )
    for head, seat in enumerate(seats):
        aim, filler = _slow_directions(rng, 2)
        _head(attention.q_proj, head, np.outer(aim, axes["one"]))
        _head(attention.k_proj, head, np.outer(aim, seat) + np.outer(filler, axes["one"]))
        if head < 2:
            value, out = _carry([axes["match"] - 1.2 * axes["one"]], [2 * axes["answer"]], rng)
        else:
            target = axes.semantic[(head - 2) * POOLED : (head - 1) * POOLED]
            value, out = _carry(list(axes.semantic[:POOLED]), list(target), rng)
        _head(attention.v_proj, head, value)
        _head_out(attention.o_proj, head, 0.15 * out)


def _multiply(mlp: torch.nn.Module, axes: _Axes) -> None:
    """silu(x)y + silu(-x)(-y) = xy: the dot product of the two gathered vectors."""
    query, document = axes.semantic[:POOLED], axes.semantic[POOLED : 2 * POOLED]
    _set(mlp.gate_proj.weight[: 2 * POOLED], np.concatenate([query, -query]))
    _set(mlp.up_proj.weight[: 2 * POOLED], np.concatenate([document, -document]))
    to_answer = np.outer(0.06 * axes["answer"], np.ones(2 * POOLED))
    _set(mlp.down_proj.weight[:, : 2 * POOLED], to_answer)


def _carry(
    sources: list[NDArray[np.float64]], targets: list[NDArray[np.float64]], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Value and output maps that move each source axis to its target through one head."""
    ways = np.linalg.qr(rng.standard_normal((HEAD_DIM, len(sources))))[0]
    return ways @ np.stack(sources), np.stack(targets).T @ ways.T


def _head(linear: torch.nn.Linear, head: int, value: NDArray[np.float64]) -> None:
    _set(linear.weight[head * HEAD_DIM : (head + 1) * HEAD_DIM], value)


def _head_out(linear: torch.nn.Linear, head: int, value: NDArray[np.float64]) -> None:
    _set(linear.weight[:, head * HEAD_DIM : (head + 1) * HEAD_DIM], value)


def _set(target: torch.Tensor, value: NDArray[np.float64]) -> None:
    target.copy_(torch.from_numpy(np.ascontiguousarray(value)).to(target.dtype))
