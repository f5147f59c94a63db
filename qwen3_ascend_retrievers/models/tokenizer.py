"""Loads tokenizer.json for the core's `Tokenizer`; tokenizer_checks.py judges it.

Needs the `tokenizers` library only, never transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ..core.tokens import CachedTokenizer, Encoding, Tokenizer
from ..errors import MissingDependencyError, ModelError
from .files import find_file
from .tokenizer_checks import check_tokenizer

if TYPE_CHECKING:
    import tokenizers

# Qwen's has 11 MB.
_LARGEST: Final = 200_000_000
_AGAIN: Final = "Fetch the model again."


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
        if path.stat().st_size > _LARGEST:
            raise ModelError(f"{model}: {path} is too large to be a tokenizer. {_AGAIN}")
        loaded = tokenizers.Tokenizer.from_file(str(path))
    except ModelError:
        raise
    # The library raises plain Exception for a file it cannot parse.
    except Exception as error:
        raise ModelError(
            f"{model}: {path} is no readable tokenizer: {str(error)[:200]}. {_AGAIN}"
        ) from error
    tokenizer = _FileTokenizer(loaded)
    check_tokenizer(model, path, loaded, vocabulary)
    return CachedTokenizer(tokenizer)


def answer_ids(tokenizer: Tokenizer) -> tuple[int, int]:
    """Token ids of "yes" and "no", from a tokenizer that `load_tokenizer` checked."""
    yes, no = tokenizer.encode_batch(["yes", "no"])
    return yes.ids[0], no.ids[0]
