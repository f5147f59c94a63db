"""The conversion: check, copy shard by shard, verify, rename."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..._util.atomic_files import new_folder
from ...core.prompt import DEFAULT_INSTRUCTION, document_part, query_part
from ...core.ranking import sigmoid
from ...core.tokens import Tokenizer
from ...errors import InvalidInputError, ModelError
from ..check import checked_tokenizer
from ..checkpoint import Checkpoint, check_unquantized, find_checkpoint
from ..files import read_json
from ..known_pairs import KNOWN_PAIRS
from ..tokenizer import answer_ids
from ..weight_files import Tensor, tensors_of
from ..weight_shapes import EMBEDDING, HEAD, SCORE
from .settings_files import converted_config, copy_tokenizer, write_json_file
from .streamed import last_states
from .tensors import load, load_rows, write_shard

ConversionProgress = Callable[[int, int], None]

# The largest difference between the scores of source and copy.
TOLERANCE: Final = 1e-3


@dataclass(frozen=True, slots=True)
class ConversionResult:
    """The result of `convert`.

    Attributes:
        folder: the converted checkpoint.
        shards: the number of its safetensors files.
        size: bytes of its tensors.
        scores: of the fixed pairs, each by the source and by the copy.
    """

    folder: Path
    shards: int
    size: int
    scores: tuple[tuple[float, float], ...]


def convert(
    model: str, target: Path, *, progress: ConversionProgress | None = None
) -> ConversionResult:
    """Make a sequence classification checkpoint of an original Qwen3 reranker.

    The body is copied as it is; `score.weight` is W[yes] - W[no] in float32, because the
    difference of two bfloat16 rows is no bfloat16. Both checkpoints then score fixed pairs.

    Args:
        model: a folder, a hub id, or "tiny".
        target: the new folder; it appears when everything is verified.
        progress: called with the bytes copied so far and in all; None reports nothing.

    Raises:
        InvalidInputError: `target` exists, or `model` is converted already.
        ModelError: `model` is no complete Qwen3 reranker, or the copy does not score as it does.
        MissingDependencyError: torch, transformers or tokenizers is not installed.
    """
    with new_folder(target) as folder:
        checkpoint = find_checkpoint(model)
        if checkpoint.kind == "converted":
            raise InvalidInputError(f"{model} is a converted checkpoint already; use it as it is.")
        check_unquantized(checkpoint, "Conversion")
        tokenizer = checked_tokenizer(checkpoint)
        source = tensors_of(model, checkpoint.folder)
        yes, no = load_rows(source.get(HEAD, source[EMBEDDING]), answer_ids(tokenizer))
        shards, size = _write_weights(folder, source, (yes - no)[None], progress)
        config = read_json(model, checkpoint.folder / "config.json")
        write_json_file(folder / "config.json", converted_config(config, tokenizer))
        copy_tokenizer(checkpoint.folder, folder)
        scores = _verify(checkpoint, folder, tokenizer, (yes, no))
    return ConversionResult(target, shards, size, scores)


def _write_weights(
    folder: Path, source: dict[str, Tensor], score: Any, progress: ConversionProgress | None
) -> tuple[int, int]:
    """Write all shards and, if there are several, their index; returns shards and bytes."""
    body = {name: tensor for name, tensor in source.items() if name != HEAD}
    total, copied = sum(tensor.size for tensor in body.values()), 0

    def advance(count: int) -> None:
        nonlocal copied
        copied += count
        if progress is not None:
            progress(copied, total)

    files = sorted({tensor.path.name for tensor in body.values()})
    size = 0
    weight_map: dict[str, str] = {}
    for file in files:
        shard = {name: tensor for name, tensor in body.items() if tensor.path.name == file}
        head = {SCORE: score} if file == files[-1] else {}
        size += write_shard(folder / file, shard, head, advance)
        weight_map |= dict.fromkeys([*shard, *head], file)
    if len(files) > 1 or files != ["model.safetensors"]:
        index = {"metadata": {"total_size": size}, "weight_map": weight_map}
        write_json_file(folder / "model.safetensors.index.json", index)
    return len(files), size


def _verify(
    source: Checkpoint, folder: Path, tokenizer: Tokenizer, answers: tuple[Any, Any]
) -> tuple[tuple[float, float], ...]:
    """Scores of the fixed pairs by both checkpoints, each from its own files."""
    prompts = _pair_prompts(tokenizer)
    states = last_states(source.folder, tensors_of(source.model, source.folder), prompts)
    copy = find_checkpoint(str(folder))
    tensors = tensors_of(copy.model, copy.folder)
    copy_states = last_states(folder, tensors, prompts)
    yes, no = answers
    before = [sigmoid(logit) for logit in (states @ yes - states @ no).tolist()]
    after = [sigmoid(logit) for logit in (copy_states @ load(tensors[SCORE])[0]).tolist()]
    scores = tuple(zip(before, after, strict=True))
    # Negated so that NaN fails too.
    if not all(abs(old - new) <= TOLERANCE for old, new in scores):
        raise ModelError(
            f"The copy scores {after} where the source scores {before}; it was thrown away. The "
            "source's files may be damaged: fetch the model again."
        )
    return scores


def _pair_prompts(tokenizer: Tokenizer) -> list[list[int]]:
    prompts = [
        (query_part(DEFAULT_INSTRUCTION, pair.query), document_part(document))
        for pair in KNOWN_PAIRS
        for document in (pair.relevant, pair.irrelevant)
    ]
    encodings = [tokenizer.encode_batch(parts) for parts in prompts]
    return [[*query.ids, *document.ids] for query, document in encodings]
