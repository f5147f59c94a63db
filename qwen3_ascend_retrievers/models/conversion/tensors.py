"""Tensors in safetensors files, read and copied piece by piece: no file is ever held whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, Final

from ...errors import ModelError
from ..weight_files import Tensor

_PIECE: Final = 8 << 20
# Names of the format and of torch, for the floats that models are stored in.
_FLOATS: Final = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def load(tensor: Tensor) -> Any:
    """The whole tensor, as float32 torch tensor."""
    return _floats(tensor, 0, tensor.size).reshape(tensor.shape)


def load_rows(tensor: Tensor, rows: Sequence[int]) -> Any:
    """Some rows of a matrix, as float32 torch tensor."""
    width = tensor.size // tensor.shape[0]
    return import_module("torch").stack([_floats(tensor, row * width, width) for row in rows])


def _floats(tensor: Tensor, offset: int, size: int) -> Any:
    if tensor.dtype not in _FLOATS:
        raise ModelError(
            f"{tensor.path.name} holds {tensor.dtype} tensors; only {', '.join(_FLOATS)} can be "
            "converted. Take the unquantized checkpoint."
        )
    torch = import_module("torch")
    data = tensor.read(offset, size)
    return torch.frombuffer(data, dtype=getattr(torch, _FLOATS[tensor.dtype])).float()


def write_shard(
    path: Path,
    kept: dict[str, Tensor],
    made: dict[str, Any],
    progress: Callable[[int], None],
) -> int:
    """Write a safetensors file.

    Args:
        path: the file to write.
        kept: tensors that are copied byte by byte.
        made: float32 torch tensors that come after them.
        progress: told of copied bytes.

    Returns:
        Bytes of all its tensors.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, one in kept.items():
        offsets = [at, at + one.size]
        header[name] = {"dtype": one.dtype, "shape": list(one.shape), "data_offsets": offsets}
        at += one.size
    extra = {name: one.contiguous().numpy().tobytes() for name, one in made.items()}
    for name, data in extra.items():
        offsets = [at, at + len(data)]
        header[name] = {"dtype": "F32", "shape": list(made[name].shape), "data_offsets": offsets}
        at += len(data)
    written = json.dumps(header).encode()
    # Tensors start at a multiple of eight, as the reference implementation writes them.
    written += b" " * (-len(written) % 8)
    with path.open("wb") as target:
        target.write(len(written).to_bytes(8, "little") + written)
        for one in kept.values():
            _copy(one, target, progress)
        for data in extra.values():
            target.write(data)
    return at


def _copy(tensor: Tensor, target: BinaryIO, progress: Callable[[int], None]) -> None:
    with tensor.path.open("rb") as source:
        source.seek(tensor.start)
        left = tensor.size
        while left:
            piece = source.read(min(left, _PIECE))
            if not piece:
                raise ModelError(f"{tensor.path} became shorter while it was read.")
            target.write(piece)
            progress(len(piece))
            left -= len(piece)
