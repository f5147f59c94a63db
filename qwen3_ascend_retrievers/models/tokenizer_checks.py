"""Whether a tokenizer.json is a Qwen3 reranker's: byte-level BPE, the template's tokens, right ids.

Another tokenizer would make tokens without an error, and so scores that look plausible.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import ModelError
from .byte_level import BYTE_ALPHABET, offsets_from_strings
from .known_pairs import KNOWN_PAIRS

if TYPE_CHECKING:
    import tokenizers

# The prompt template's special tokens.
_TEMPLATE_TOKENS: Final = ("<|im_start|>", "<|im_end|>", "<think>", "</think>")
# Each must be one token; the last is for padding.
_SINGLE_TOKENS: Final = ("yes", "no", *_TEMPLATE_TOKENS, "<|endoftext|>")
# Qwen3's tokens without the added ones. A tokenizer with as many must make Qwen3's ids: this is
# the SHA-256 of the official one's ids of the known pairs' prompts.
_QWEN_TOKENS: Final = 151_643
_QWEN_IDS_SHA256: Final = "40368214bbfad44e61caaf21488ca09d27288bb8b5053db53604cbfe7349874f"
_PROMPT_END: Final = "<|im_end|>\n<think>\n\n</think>\n\nyes\nno"
# Embeddings are padded to a multiple of 64 to 512, and by Qwen itself by 267 rows.
_MAX_UNUSED_ROWS: Final = 1024
_TOKENIZER_ADVICE: Final = "Take tokenizer.json from the reranker's own files."


def check_tokenizer(
    model: str, path: Path, backend: tokenizers.Tokenizer, vocab_size: int | None
) -> None:
    """Raise ModelError unless a tokenizer is a Qwen3 reranker's.

    Args:
        model: for messages.
        path: the file it was loaded from.
        backend: the loaded tokenizer, without padding and truncation.
        vocab_size: rows of the model's embedding, if known.
    """
    vocab = backend.get_vocab()
    tokens = backend.get_vocab_size(with_added_tokens=False)
    _check_model_type(model, path, backend, tokens)
    _check_vocab_size(model, path, vocab, vocab_size)
    try:
        encodings = backend.encode_batch(list(_SINGLE_TOKENS), add_special_tokens=False)
        prompts = _probe_prompts(backend)
    # The library raises plain Exception for what its model cannot express.
    except Exception as error:
        raise ModelError(
            f"{model}: {path} cannot make tokens: {error}. {_TOKENIZER_ADVICE}"
        ) from error
    _check_single_tokens(model, path, [encoding.ids for encoding in encodings])
    _check_bytes(model, path, vocab)
    if prompts is None:
        raise ModelError(
            f"{model}: the tokens that {path} makes do not spell the text they are made of, or "
            "differ between a prompt and its parts. It is no Qwen3 reranker's tokenizer. "
            f"{_TOKENIZER_ADVICE}"
        )
    if tokens < _QWEN_TOKENS:
        _check_merge_order(model, path)
    elif hashlib.sha256(repr(prompts).encode()).hexdigest() != _QWEN_IDS_SHA256:
        raise ModelError(
            f"{model}: {path} is as large as Qwen3's tokenizer and makes other ids of the template "
            f"and of ordinary text. It is of another model, or damaged. {_TOKENIZER_ADVICE}"
        )


def _check_single_tokens(model: str, path: Path, ids_of_texts: Sequence[Sequence[int]]) -> None:
    for text, ids in zip(_SINGLE_TOKENS, ids_of_texts, strict=True):
        if len(ids) != 1:
            raise ModelError(
                f"{model}: {path} makes {len(ids)} tokens of {text!r}, which Qwen3's template "
                f"needs as one. It is no Qwen3 reranker's tokenizer. {_TOKENIZER_ADVICE}"
            )
    text_of_id: dict[int, str] = {}
    for text, (token_id,) in zip(_SINGLE_TOKENS, ids_of_texts, strict=True):
        if token_id in text_of_id:
            raise ModelError(
                f"{model}: {path} gives {text_of_id[token_id]!r} and {text!r} the same id, "
                f"{token_id}, so that no score would mean anything. {_TOKENIZER_ADVICE}"
            )
        text_of_id[token_id] = text


def _check_vocab_size(
    model: str, path: Path, vocab: Mapping[str, int], vocab_size: int | None
) -> None:
    if vocab_size is None or not vocab:
        return
    highest = max(vocab.values())
    if len(vocab) > vocab_size or highest >= vocab_size:
        raise ModelError(
            f"{model}: {path} has {len(vocab)} tokens with ids up to {highest}, and the model's "
            f"embedding {vocab_size} rows. They are not of the same model. {_TOKENIZER_ADVICE}"
        )
    if highest + 1 + _MAX_UNUSED_ROWS < vocab_size:
        raise ModelError(
            f"{model}: {path} has {len(vocab)} tokens only, and the model's embedding "
            f"{vocab_size} rows. They are not of the same model. {_TOKENIZER_ADVICE}"
        )


def _check_model_type(model: str, path: Path, backend: tokenizers.Tokenizer, tokens: int) -> None:
    model_type = type(backend.model).__name__
    if model_type != "BPE":
        raise ModelError(
            f"{model}: {path} is a {model_type} tokenizer; Qwen3's is byte-level BPE, and another "
            f'gives "yes", "no" and the texts wrong ids. {_TOKENIZER_ADVICE}'
        )
    if tokens == 0:
        raise ModelError(f"{model}: the vocabulary in {path} is empty. {_TOKENIZER_ADVICE}")
    if getattr(backend.model, "dropout", None):
        raise ModelError(
            f"{model}: {path} makes tokens at random (dropout in its model). Set dropout to null."
        )


def _check_bytes(model: str, path: Path, vocab: Mapping[str, int]) -> None:
    missing_bytes = [character for character in BYTE_ALPHABET if character not in vocab]
    if missing_bytes:
        raise ModelError(
            f"{model}: {path} has no token for {len(missing_bytes)} of the 256 bytes, so that "
            f"texts would lose letters. It is no byte-level BPE, or damaged. {_TOKENIZER_ADVICE}"
        )


def _probe_prompts(backend: tokenizers.Tokenizer) -> list[Sequence[int]] | None:
    """Ids of the known pairs' prompts; None if their tokens do not spell the text."""
    texts = [
        (f"\n <|im_start|>user\n<Query>: {pair.query}\n", f"<Document>: {document} {_PROMPT_END}")
        for pair in KNOWN_PAIRS
        for document in (pair.relevant, pair.irrelevant)
    ]
    prompts: list[Sequence[int]] = []
    for query, document in texts:
        first, second = backend.encode_batch([query, document], add_special_tokens=False)
        (whole,) = backend.encode_batch([query + document], add_special_tokens=False)
        prompts.append(whole.ids)
        if [*first.ids, *second.ids] != whole.ids:
            return None
        # An added token's flags can make it take the spaces beside it (lstrip, rstrip), or hide it
        # in a word (single_word).
        if not offsets_from_strings(query + document, whole.tokens):
            return None
        if any(token not in whole.tokens for token in _TEMPLATE_TOKENS):
            return None
    return prompts


def _check_merge_order(model: str, path: Path) -> None:
    """Raise ModelError where a few ids disagree with the order of the merges.

    Byte-level BPE numbers its tokens in the order in which they were merged. Where nearly all
    follow that, the others were changed by hand or damaged.
    """
    bpe: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["model"]
    vocab, merges = bpe["vocab"], bpe["merges"]
    tokens = ["".join(merge if isinstance(merge, list) else merge.split(" ")) for merge in merges]
    first_id = len(BYTE_ALPHABET)
    disordered = [
        token for token_id, token in enumerate(tokens, first_id) if vocab.get(token) != token_id
    ]
    if 0 < len(disordered) <= len(merges) // 100:
        raise ModelError(
            f"{model}: {path} gives {disordered[0]!r:.40} and {len(disordered) - 1} other tokens "
            f"ids that do not follow its merges. It is damaged. {_TOKENIZER_ADVICE}"
        )
