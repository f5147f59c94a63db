"""A checkpoint's fingerprint: whether two machines have the same weights, without sending any."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from .checkpoint import Checkpoint
from .files import TINY, TINY_FOLDER
from .weight_files import file_stamps, tensors_of

# Of each tensor from its beginning and its end: 400 tensors make 50 MB, read in a moment.
_SAMPLE_BYTES: Final = 65_536
_COMMIT: Final = re.compile("[0-9a-f]{40}")

logger = logging.getLogger(__name__)


def weights_fingerprint(model: str, folder: Path) -> str:
    """A hash of all tensors' names, dtypes and shapes, and of samples of their values.

    It does not depend on how the tensors are spread over files, nor on the folder's name.

    Args:
        model: its name, for errors.
        folder: with its files.

    Raises:
        ModelError: a file is missing, cut short or damaged.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors_of(model, folder).items()):
        digest.update(f"{name} {tensor.dtype} {tensor.shape}\n".encode())
        length = min(_SAMPLE_BYTES, tensor.size)
        digest.update(tensor.read(0, length))
        digest.update(tensor.read(tensor.size - length, length))
    return f"sha256 of samples: {digest.hexdigest()[:32]}"


def weight_stamps(model: str) -> list[list[Any]]:
    """Names, sizes and times of a model folder's files, so that retraining is noticed.

    Args:
        model: a folder or "tiny"; of a name on a hub or a server nothing is known here.
    """
    folder = TINY_FOLDER if model == TINY else Path(model)
    return [list(stamp) for stamp in file_stamps(folder)] if folder.is_dir() else []


def stamps_of_models(config: Mapping[str, Any]) -> list[list[list[Any]]]:
    """`weight_stamps` of all models that a written engine names, those of its stages included."""
    return [weight_stamps(model) for model in _models_in(config)]


def _models_in(config: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(config.get("model"), str):
        yield config["model"]
    for value in config.values():
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, Mapping):
                yield from _models_in(inner)


def scoring_fingerprint(checkpoint: Checkpoint, **settings: Any) -> str:
    """A text that differs where a checkpoint's scores may: weights, configuration and settings.

    A hub snapshot is told by its commit. Of another folder the samples of `weights_fingerprint` and
    the files' times are taken, because a full hash of 16 GB takes as long as loading them. If the
    files are others than when the checkpoint was found, before it was loaded, nothing is known of
    what was loaded, and the text is like no other.

    Args:
        checkpoint: as it was loaded.
        settings: what else changes a score, such as the dtype; JSON-safe.

    Raises:
        ModelError: a file is missing, cut short or damaged.
    """
    folder, stamps = checkpoint.folder, checkpoint.stamps
    if file_stamps(folder) != stamps:
        logger.warning(
            "%s was changed after it was loaded; its scores are cached for this process only.",
            folder,
        )
        return uuid4().hex
    is_commit = folder.parent.name == "snapshots" and _COMMIT.fullmatch(folder.name)
    version = folder.name if is_commit else stamps
    config = hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
    weights = weights_fingerprint(checkpoint.model, folder)
    return json.dumps([weights, version, config, settings], sort_keys=True)
