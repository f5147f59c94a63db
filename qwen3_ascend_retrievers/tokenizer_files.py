"""Loads tokenizer.json for the core's `Tokenizer`, and checks that it suits the prompt.

Needs the `tokenizers` library only, never transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .core.tokens import CachedTokenizer, Encoding, Tokenizer
from .errors import MissingDependencyError, ModelError
from .model_files import find_file

if TYPE_CHECKING:
    import tokenizers

# What the template and the two answers are made of: each must be one token.
_ATOMS: Final = ("yes", "no", "<|im_start|>", "<|im_end|>", "<think>", "</think>")


class _FileTokenizer:
    """A `Tokenizer` from the `tokenizers` library; nothing is added, padded or cut."""

    def __init__(self, loaded: tokenizers.Tokenizer) -> None:
        loaded.no_padding()
        loaded.no_truncation()
        self._loaded = loaded

    def encode_batch(self, texts: Sequence[str]) -> Sequence[Encoding]:
        made: Any = self._loaded.encode_batch(list(texts), add_special_tokens=False)
        return made  # type: ignore[no-any-return]  # the library's Encoding has ids and offsets


def load_tokenizer(
    model: str, revision: str | None = None, *, vocabulary: int | None = None
) -> Tokenizer:
    """The tokenizer of a model, with a cache of the texts it saw last. Safe between threads.

    Args:
        model: "tiny", a folder with tokenizer.json, or a hub id.
        revision: branch, tag or commit of a hub id; None is its main branch.
        vocabulary: rows of the model's embedding, if known; a tokenizer with more tokens than
            that is refused.

    Raises:
        MissingDependencyError: `tokenizers` is not installed, or huggingface_hub for a hub id.
        ModelError: the file is missing, broken, or no Qwen3 reranker's tokenizer.
        InvalidInputError: a revision was given for a folder.
    """
    try:
        import tokenizers
    except ImportError as error:
        raise MissingDependencyError(
            "Counting tokens needs the tokenizers library: "
            "pip install 'qwen3-ascend-retrievers[tokenizers]'"
        ) from error
    path = find_file(model, "tokenizer.json", revision)
    try:
        loaded = tokenizers.Tokenizer.from_file(str(path))
    # The library raises plain Exception for a file it cannot parse.
    except Exception as error:
        raise ModelError(f"{model}: {path} is no readable tokenizer: {error}") from error
    _check_size(model, path, loaded.get_vocab_size(), vocabulary)
    made = _FileTokenizer(loaded)
    _check_atoms(model, path, made)
    return CachedTokenizer(made)


def answer_ids(tokenizer: Tokenizer) -> tuple[int, int]:
    """Token ids of "yes" and "no", from a tokenizer that `load_tokenizer` checked."""
    yes, no = tokenizer.encode_batch(["yes", "no"])
    return yes.ids[0], no.ids[0]


def _check_size(model: str, path: Path, tokens: int, vocabulary: int | None) -> None:
    if vocabulary is not None and tokens > vocabulary:
        raise ModelError(
            f"{model}: {path} has {tokens} tokens and the model's embedding {vocabulary} rows. "
            "They are not of the same model."
        )


def _check_atoms(model: str, path: Path, tokenizer: Tokenizer) -> None:
    for text, encoding in zip(_ATOMS, tokenizer.encode_batch(_ATOMS), strict=True):
        if len(encoding.ids) != 1:
            raise ModelError(
                f"{model}: {path} makes {len(encoding.ids)} tokens of {text!r}, which Qwen3's "
                "template needs as one. It is no Qwen3 reranker's tokenizer."
            )
