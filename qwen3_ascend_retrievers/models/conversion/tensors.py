"""Tensors in safetensors files, read and copied in chunks: no file is in memory as a whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, Final

from ...errors import ModelError
from ..weight_files import Tensor

_CHUNK_BYTES: Final = 8 << 20
# The dtypes that models are stored in, by their names in the format: torch's names.
_TORCH_DTYPES: Final = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def load(tensor: Tensor) -> Any:
    """The whole tensor, as a float32 torch tensor."""
    return _read_float32(tensor, 0, tensor.size).reshape(tensor.shape)


def load_rows(tensor: Tensor, rows: Sequence[int]) -> Any:
    """Some rows of a matrix, as a float32 torch tensor."""
    width = tensor.size // tensor.shape[0]
    return import_module("torch").stack([_read_float32(tensor, row * width, width) for row in rows])


def _read_float32(tensor: Tensor, offset: int, size: int) -> Any:
    if tensor.dtype not in _TORCH_DTYPES:
        raise ModelError(
            f"{tensor.path.name} holds {tensor.dtype} tensors; only {', '.join(_TORCH_DTYPES)} can "
            "be converted. Take the unquantized checkpoint."
        )
    torch = import_module("torch")
    buffer = tensor.read(offset, size)
    return torch.frombuffer(buffer, dtype=getattr(torch, _TORCH_DTYPES[tensor.dtype])).float()


def write_shard(
    path: Path,
    copied: dict[str, Tensor],
    added: dict[str, Any],
    progress: Callable[[int], None],
) -> int:
    """Write a safetensors file.

    Args:
        path: the file to write.
        copied: tensors of other files, whose bytes are copied.
        added: float32 torch tensors, written after them.
        progress: called with the size of each chunk that was copied.

    Returns:
        Bytes of all its tensors.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    size = 0
    for name, tensor in copied.items():
        offsets = [size, size + tensor.size]
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": offsets}
        size += tensor.size
    contents = {name: tensor.contiguous().numpy().tobytes() for name, tensor in added.items()}
    for name, content in contents.items():
        offsets = [size, size + len(content)]
        header[name] = {"dtype": "F32", "shape": list(added[name].shape), "data_offsets": offsets}
        size += len(content)
    encoded = json.dumps(header).encode()
    # Tensors start at a multiple of eight, as the reference implementation writes them.
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as target:
        target.write(len(encoded).to_bytes(8, "little") + encoded)
        for tensor in copied.values():
            _copy(tensor, target, progress)
        for content in contents.values():
            target.write(content)
    return size


def _copy(tensor: Tensor, target: BinaryIO, progress: Callable[[int], None]) -> None:
    with tensor.path.open("rb") as source:
        source.seek(tensor.start)
        remaining = tensor.size
        while remaining:
            chunk = source.read(min(remaining, _CHUNK_BYTES))
            if not chunk:
                raise ModelError(f"{tensor.path} became shorter while it was read.")
            target.write(chunk)
            progress(len(chunk))
            remaining -= len(chunk)
