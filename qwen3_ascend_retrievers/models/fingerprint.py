"""A checkpoint's fingerprint: whether two machines have the same weights, without sending any."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

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
