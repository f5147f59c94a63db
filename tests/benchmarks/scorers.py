"""Contenders in this process: a name, and a function from pairs to P(yes).

Each builder loads the model itself: where a library is not installed, the table names the reason.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.pairs import Pair
from qwen3_ascend_retrievers import DEFAULT_INSTRUCTION, LocalEngine, Reranker, VLLMEngine
from qwen3_ascend_retrievers.core.batching import portions
from qwen3_ascend_retrievers.core.prompt import document_part, query_part
from qwen3_ascend_retrievers.engines.vllm.compat import ORIGINAL
from qwen3_ascend_retrievers.models.files import TINY, TINY_FOLDER

# Names in the tables.
LOCAL = "`LocalEngine`"
CARD = "the model card's code"
CROSS_ENCODER = "`CrossEncoder` (sentence-transformers)"
VLLM = "`VLLMEngine`"
VLLM_SCORE = "`LLM.score` (vLLM)"
VLLM_SCORE_ALL_CORES = "`LLM.score` (vLLM), all cores"

# Tokens of one pass of the model card's code with padding: it computes a logit for each token of
# the vocabulary at each of them, 5 GB in float32.
_CARD_TOKENS = 8192
_RESERVED = "VLLM_CPU_NUM_OF_RESERVED_CPU"
_VLLM_CACHE_BYTES = 2 << 30


@dataclass(frozen=True)
class Scorer:
    """A way to score pairs."""

    name: str
    score: Callable[[Sequence[Pair]], list[float]]


def prompts(pairs: Sequence[Pair]) -> list[str]:
    """The model card's."""
    return [query_part(DEFAULT_INSTRUCTION, query) + document_part(text) for query, text in pairs]


def local(model: str, dtype: str) -> Scorer:
    """LocalEngine."""
    return _ours(LOCAL, LocalEngine(model, device="cpu", dtype=dtype))


def card(model: str, dtype: str, *, all_logits: bool = True, name: str = CARD) -> Scorer:
    """The model card's code: left padding, all logits. Many pairs go in portions."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = _folder(model)
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    weights: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    yes, no = tokenizer.convert_tokens_to_ids(["yes", "no"])
    kept = 0 if all_logits else 1

    @torch.no_grad()
    def score(pairs: Sequence[Pair]) -> list[float]:
        rows = tokenizer(prompts(pairs), add_special_tokens=False)["input_ids"]
        longest = max(map(len, rows))
        lengths = [longest] * len(rows)
        scores: list[float] = []
        for portion in portions(lengths, max_count=len(rows), max_tokens=_CARD_TOKENS):
            inputs = tokenizer.pad({"input_ids": [rows[at] for at in portion]}, return_tensors="pt")
            last = weights(**inputs, logits_to_keep=kept).logits[:, -1, :].float()
            scores += torch.sigmoid(last[:, yes] - last[:, no]).tolist()
        return scores

    return Scorer(name, score)


def cross_encoder(model: str, dtype: str) -> Scorer:
    """sentence-transformers with a chat template that renders both roles, its defaults else."""
    import torch
    from sentence_transformers import CrossEncoder

    encoder = CrossEncoder(
        _folder(model),
        device="cpu",
        local_files_only=True,
        model_kwargs={"dtype": getattr(torch, dtype)},
        processor_kwargs={"chat_template": _chat_template()},
    )

    def score(pairs: Sequence[Pair]) -> list[float]:
        scores: list[float] = encoder.predict(list(pairs), show_progress_bar=False).tolist()
        return scores

    return Scorer(CROSS_ENCODER, score)


def vllm_engine(model: str, length: int) -> Scorer:
    """VLLMEngine."""
    return _ours(VLLM, VLLMEngine(model, max_length=length))


def llm_score(model: str, length: int, *, all_cores: bool = False) -> Scorer:
    """vLLM's own `LLM.score` with its defaults, or with all cores of the CPU."""
    from vllm import LLM

    with _environment(_RESERVED, "0" if all_cores else None):
        llm = LLM(
            _folder(model),
            runner="pooling",
            hf_overrides=dict(ORIGINAL),
            max_model_len=length,
            kv_cache_memory_bytes=_VLLM_CACHE_BYTES,
        )

    def score(pairs: Sequence[Pair]) -> list[float]:
        queries = [query_part(DEFAULT_INSTRUCTION, query) for query, _ in pairs]
        documents = [document_part(text) for _, text in pairs]
        outputs = llm.score(queries, documents, use_tqdm=False)
        return [output.outputs.score for output in outputs]

    return Scorer(VLLM_SCORE_ALL_CORES if all_cores else VLLM_SCORE, score)


def _ours(name: str, engine: LocalEngine | VLLMEngine) -> Scorer:
    """`Reranker.score` with an engine, which loads its model here."""
    engine.facts()
    return Scorer(name, Reranker(engine).score)


def _folder(model: str) -> str:
    return str(TINY_FOLDER) if model == TINY else model


def _chat_template() -> str:
    """A Jinja template of the model card's prompt."""
    text = query_part(DEFAULT_INSTRUCTION, "{{ query }}") + document_part("{{ document }}")
    # Jinja drops a newline at a template's end, and every score with it changes a little.
    end = "\n\n"
    return (
        "{%- set query = messages | selectattr('role', 'eq', 'query') | map(attribute='content')"
        " | first -%}"
        "{%- set document = messages | selectattr('role', 'eq', 'document')"
        " | map(attribute='content') | first -%}" + text.removesuffix(end) + '{{ "\\n\\n" }}'
    )


@contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    before = os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before
