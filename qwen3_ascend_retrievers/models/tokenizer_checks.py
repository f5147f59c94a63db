"""Whether a tokenizer.json is a Qwen3 reranker's: byte-level BPE, the template's tokens, right ids.

A tokenizer that is not makes tokens all the same, and scores that look like scores.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import ModelError
from .byte_level import BYTE_LETTERS, offsets_from_strings
from .known_pairs import BOTH

if TYPE_CHECKING:
    import tokenizers

# What the template is made of besides text; and the token that fills a batch.
_CONTROL: Final = ("<|im_start|>", "<|im_end|>", "<think>", "</think>")
# Each must be one token.
_ATOMS: Final = ("yes", "no", *_CONTROL, "<|endoftext|>")
# Qwen3's tokens without the added ones. A tokenizer with as many must make Qwen3's ids: this is
# the SHA-256 of what the official one makes of the known pairs' prompts.
_QWEN_TOKENS: Final = 151_643
_QWEN_IDS: Final = "40368214bbfad44e61caaf21488ca09d27288bb8b5053db53604cbfe7349874f"
_END: Final = "<|im_end|>\n<think>\n\n</think>\n\nyes\nno"
# Embeddings are padded to a multiple of 64 to 512, and by Qwen itself by 267 rows.
_MOST_UNUSED: Final = 1024
_OTHER: Final = "Take tokenizer.json from the reranker's own files."


def check_tokenizer(
    model: str, path: Path, loaded: tokenizers.Tokenizer, vocabulary: int | None
) -> None:
    """Raise ModelError unless a tokenizer is a Qwen3 reranker's.

    Args:
        model: for messages.
        path: the file it was loaded from.
        loaded: without padding and truncation.
        vocabulary: rows of the model's embedding, if known.
    """
    ids = loaded.get_vocab()
    tokens = loaded.get_vocab_size(with_added_tokens=False)
    _check_kind(model, path, loaded, tokens)
    _check_size(model, path, ids, vocabulary)
    try:
        atoms = loaded.encode_batch(list(_ATOMS), add_special_tokens=False)
        prompts = _prompts(loaded)
    # The library raises plain Exception for what its model cannot express.
    except Exception as error:
        raise ModelError(f"{model}: {path} cannot make tokens: {error}. {_OTHER}") from error
    _check_atoms(model, path, [encoding.ids for encoding in atoms])
    _check_bytes(model, path, ids)
    if prompts is None:
        raise ModelError(
            f"{model}: the tokens that {path} makes do not spell the text they are made of, or "
            f"differ between a prompt and its parts. It is no Qwen3 reranker's tokenizer. {_OTHER}"
        )
    if tokens < _QWEN_TOKENS:
        _check_order(model, path)
    elif hashlib.sha256(repr(prompts).encode()).hexdigest() != _QWEN_IDS:
        raise ModelError(
            f"{model}: {path} is as large as Qwen3's tokenizer and makes other ids of the template "
            f"and of ordinary text. It is of another model, or damaged. {_OTHER}"
        )


def _check_atoms(model: str, path: Path, encoded: Sequence[Sequence[int]]) -> None:
    for text, ids in zip(_ATOMS, encoded, strict=True):
        if len(ids) != 1:
            raise ModelError(
                f"{model}: {path} makes {len(ids)} tokens of {text!r}, which Qwen3's template "
                f"needs as one. It is no Qwen3 reranker's tokenizer. {_OTHER}"
            )
    numbers = [ids[0] for ids in encoded]
    for at, number in enumerate(numbers):
        if number in numbers[:at]:
            raise ModelError(
                f"{model}: {path} gives {_ATOMS[numbers.index(number)]!r} and {_ATOMS[at]!r} the "
                f"same id, {number}, so that no score would mean anything. {_OTHER}"
            )


def _check_size(model: str, path: Path, ids: Mapping[str, int], vocabulary: int | None) -> None:
    if vocabulary is None or not ids:
        return
    highest = max(ids.values())
    if len(ids) > vocabulary or highest >= vocabulary:
        raise ModelError(
            f"{model}: {path} has {len(ids)} tokens with ids up to {highest}, and the model's "
            f"embedding {vocabulary} rows. They are not of the same model. {_OTHER}"
        )
    if highest + 1 + _MOST_UNUSED < vocabulary:
        raise ModelError(
            f"{model}: {path} has {len(ids)} tokens only, and the model's embedding {vocabulary} "
            f"rows. They are not of the same model. {_OTHER}"
        )


def _check_kind(model: str, path: Path, loaded: tokenizers.Tokenizer, tokens: int) -> None:
    kind = type(loaded.model).__name__
    if kind != "BPE":
        raise ModelError(
            f"{model}: {path} is a {kind} tokenizer; Qwen3's is byte-level BPE, and another gives "
            f'"yes", "no" and the texts wrong ids. {_OTHER}'
        )
    if tokens == 0:
        raise ModelError(f"{model}: the vocabulary in {path} is empty. {_OTHER}")
    if getattr(loaded.model, "dropout", None):
        raise ModelError(
            f"{model}: {path} makes tokens at random (dropout in its model). Set dropout to null."
        )


def _check_bytes(model: str, path: Path, ids: Mapping[str, int]) -> None:
    missing = [letter for letter in BYTE_LETTERS if letter not in ids]
    if missing:
        raise ModelError(
            f"{model}: {path} has no token for {len(missing)} of the 256 bytes, so that texts "
            f"would lose letters. It is no byte-level BPE, or damaged. {_OTHER}"
        )


def _prompts(loaded: tokenizers.Tokenizer) -> list[Sequence[int]] | None:
    """Ids of the known pairs between the template's tokens; None if not spelled so."""
    texts = [
        (f"\n <|im_start|>user\n<Query>: {pair.query}\n", f"<Document>: {document} {_END}")
        for pair in BOTH
        for document in (pair.relevant, pair.irrelevant)
    ]
    prompts: list[Sequence[int]] = []
    for query, document in texts:
        parts = loaded.encode_batch([query, document], add_special_tokens=False)
        (whole,) = loaded.encode_batch([query + document], add_special_tokens=False)
        prompts.append(whole.ids)
        if [*parts[0].ids, *parts[1].ids] != whole.ids:
            return None
        # A flag of an added token can let it swallow the spaces beside it, or hide it in a word.
        if not offsets_from_strings(query + document, whole.tokens):
            return None
        if any(token not in whole.tokens for token in _CONTROL):
            return None
    return prompts


def _check_order(model: str, path: Path) -> None:
    """Raise ModelError where a few ids disagree with the order of the merges.

    Byte-level BPE numbers its tokens in the order in which they were merged. Where nearly all
    follow that, the others were changed by hand or damaged.
    """
    description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["model"]
    ids, merges = description["vocab"], description["merges"]
    texts = ["".join(merge if isinstance(merge, list) else merge.split(" ")) for merge in merges]
    first = len(BYTE_LETTERS)
    wrong = [text for at, text in enumerate(texts, first) if ids.get(text) != at]
    if 0 < len(wrong) <= len(merges) // 100:
        raise ModelError(
            f"{model}: {path} gives {wrong[0]!r:.40} and {len(wrong) - 1} other tokens ids that do "
            f"not follow its merges. It is damaged. {_OTHER}"
        )
