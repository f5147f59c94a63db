"""Loads tokenizer.json as the core's `Tokenizer`; tokenizer_checks.py checks it.

Needs the `tokenizers` library only, never transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ..core.tokens import CachedTokenizer, Encoding, Tokenizer
from ..errors import MissingDependencyError, ModelError
from .files import FETCH_AGAIN, find_file
from .tokenizer_checks import check_tokenizer

if TYPE_CHECKING:
    import tokenizers

# Qwen's has 11 million.
_MAX_TOKENIZER_BYTES: Final = 200_000_000


class _FileTokenizer:
    """A `Tokenizer` from the `tokenizers` library; nothing is added, padded or cut."""

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        backend.no_padding()
        backend.no_truncation()
        self._backend = backend

    def encode_batch(self, texts: Sequence[str]) -> Sequence[Encoding]:
        encodings: Any = self._backend.encode_batch(list(texts), add_special_tokens=False)
        # The library's Encoding has ids and offsets.
        return encodings  # type: ignore[no-any-return]


def load_tokenizer(
    model: str, revision: str | None = None, *, vocab_size: int | None = None
) -> Tokenizer:
    """The tokenizer of a model, with a cache of recent texts. Safe to share between threads.

    Args:
        model: "tiny", a folder with tokenizer.json, or a hub id.
        revision: branch, tag or commit of a hub id; None is its main branch.
        vocab_size: rows of the model's embedding, if known; a tokenizer with more tokens than
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
        if path.stat().st_size > _MAX_TOKENIZER_BYTES:
            raise ModelError(f"{model}: {path} is too large to be a tokenizer. {FETCH_AGAIN}")
        backend = tokenizers.Tokenizer.from_file(str(path))
    except ModelError:
        raise
    # The library raises plain Exception for a file it cannot parse.
    except Exception as error:
        raise ModelError(
            f"{model}: {path} is no readable tokenizer: {str(error)[:200]}. {FETCH_AGAIN}"
        ) from error
    tokenizer = _FileTokenizer(backend)
    check_tokenizer(model, path, backend, vocab_size)
    return CachedTokenizer(tokenizer)


def answer_ids(tokenizer: Tokenizer) -> tuple[int, int]:
    """Token ids of "yes" and "no", from a tokenizer that `load_tokenizer` checked."""
    yes, no = tokenizer.encode_batch(["yes", "no"])
    return yes.ids[0], no.ids[0]
