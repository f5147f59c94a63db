"""A checkpoint's fingerprint: whether two machines have the same weights, without sending any."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

from .files import TINY, TINY_FOLDER
from .weight_files import tensors_of

# Of each tensor from its beginning and its end: 400 tensors make 50 MB, read in a moment.
_SAMPLE_BYTES: Final = 65_536


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
    """Names, sizes and times of a model folder's weights, so that retraining is noticed.

    Args:
        model: a folder or "tiny"; of a name on a hub or a server nothing is known here.
    """
    folder = TINY_FOLDER if model == TINY else Path(model)
    paths = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in paths]


def scoring_fingerprint(model: str, folder: Path, **settings: Any) -> str:
    """A text that differs where a checkpoint's scores may: weights, configuration and settings.

    A hub snapshot is told by its commit. Of another folder the samples of `weights_fingerprint` and
    the files' times are taken, because a full hash of 16 GB takes as long as loading them.

    Args:
        model: its name, for errors.
        folder: with its files.
        settings: what else changes a score, such as the dtype; JSON-safe.

    Raises:
        ModelError: a file is missing, cut short or damaged.
    """
    if folder.parent.name == "snapshots":
        version: Any = folder.name
    else:
        files = sorted(folder.glob("*.safetensors"))
        version = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    config = hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
    weights = weights_fingerprint(model, folder)
    return json.dumps([weights, version, config, settings], sort_keys=True)
