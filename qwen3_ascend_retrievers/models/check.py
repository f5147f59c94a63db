"""Checks a checkpoint together with its tokenizer: the head's rows for "yes" and "no".

Every user of a checkpoint gets its tokenizer from here, so that the same checks apply to all.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from ..core.tokens import Tokenizer
from ..errors import ModelError
from .checkpoint import Checkpoint
from .files import read_json
from .tokenizer import answer_ids, load_tokenizer
from .weight_files import DTYPE_BYTES, Tensor, tensors_of
from .weight_shapes import EMBEDDING, HEAD, NORM, SCORE

# struct's format character, and the exponent's bits, all set in NaN and infinity only.
_FLOAT_BITS: Final = {"F32": ("I", 0x7F80_0000), "BF16": ("H", 0x7F80), "F16": ("H", 0x7C00)}
_WEIGHTS_ADVICE: Final = "The weights are damaged: fetch the model again."


def checked_tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    """The tokenizer of a checkpoint whose head can score with it.

    Raises:
        MissingDependencyError: `tokenizers` is not installed.
        ModelError: the tokenizer is no Qwen3 reranker's or not this model's, or the head gives
            every text the same score.
    """
    tokenizer = load_tokenizer(str(checkpoint.folder), vocab_size=checkpoint.vocab_size)
    tensors = tensors_of(checkpoint.model, checkpoint.folder)
    answers = answer_ids(tokenizer)
    _check_score_tokens(checkpoint, answers)
    _check_head(checkpoint, tensors, answers)
    return tokenizer


def _check_score_tokens(checkpoint: Checkpoint, answers: tuple[int, int]) -> None:
    """Raise ModelError for a reranker of sentence-transformers that scores by other tokens."""
    for path in sorted(checkpoint.folder.glob("*_LogitScore/config.json")):
        settings = read_json(checkpoint.model, path)
        tokens = settings.get("true_token_id"), settings.get("false_token_id")
        if tokens != answers:
            raise ModelError(
                f"{checkpoint.model} reads its score from the tokens {tokens} ({path}), and a "
                f'Qwen3-Reranker from "yes" and "no", {answers}. It is another reranker, with '
                "another prompt."
            )


def _check_head(
    checkpoint: Checkpoint, tensors: Mapping[str, Tensor], answers: tuple[int, int]
) -> None:
    _check_nonzero(checkpoint.model, NORM, tensors)
    if checkpoint.kind == "converted":
        _check_nonzero(checkpoint.model, SCORE, tensors)
        return
    embedding = _answer_rows(checkpoint.model, EMBEDDING, tensors, answers)
    head = _answer_rows(checkpoint.model, HEAD, tensors, answers) if HEAD in tensors else embedding
    if checkpoint.tied and head != embedding:
        raise ModelError(
            f"{checkpoint.model}: config.json says that {HEAD} is the embedding "
            "(tie_word_embeddings), and the weights hold another one. Loaders would disagree: set "
            "tie_word_embeddings to false if the head was trained, else fetch the model again."
        )
    if head[0] == head[1]:
        raise ModelError(
            f'{checkpoint.model}: the head has the same numbers for "yes" and "no", so that every '
            f"score would be 0.5. {_WEIGHTS_ADVICE}"
        )


def _check_nonzero(model: str, name: str, tensors: Mapping[str, Tensor]) -> None:
    if not any(_row_bits(tensors[name], 0)):
        raise ModelError(
            f"{model}: {name} is all zeros, so that every score would be 0.5. {_WEIGHTS_ADVICE}"
        )


def _answer_rows(
    model: str, name: str, tensors: Mapping[str, Tensor], answers: tuple[int, int]
) -> list[tuple[int, ...]]:
    """The bits of the rows for "yes" and "no", all of finite numbers."""
    tensor = tensors[name]
    _, exponent_mask = _FLOAT_BITS[tensor.dtype]
    rows = [_row_bits(tensor, answer) for answer in answers]
    if any(value & exponent_mask == exponent_mask for row in rows for value in row):
        raise ModelError(
            f"{model}: {name} holds numbers that are not finite (NaN or infinity), so that no "
            f"score can be computed. {_WEIGHTS_ADVICE}"
        )
    return rows


def _row_bits(tensor: Tensor, row: int) -> tuple[int, ...]:
    """The bits of a matrix's row, or of a whole vector; -0.0 as 0.0."""
    format_character, _ = _FLOAT_BITS[tensor.dtype]
    count, width = tensor.shape[-1], DTYPE_BYTES[tensor.dtype]
    negative_zero = 1 << (8 * width - 1)
    row_bytes = tensor.read(row * width * count, width * count)
    bits = struct.unpack(f"<{count}{format_character}", row_bytes)
    return tuple(0 if value == negative_zero else value for value in bits)
