"""The tensors in a model's safetensors files: names, shapes and places, from the files' headers.

Format: https://huggingface.co/docs/safetensors: eight bytes with the header's length, the header
in JSON, the tensors. Files are read, not mapped: mapped pages would count as this process's memory.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..errors import ModelError
from .files import read_json
from .formats import format_of_folder

INDEX: Final = "model.safetensors.index.json"
SINGLE: Final = "model.safetensors"
# The reference implementation refuses longer headers too; no model's comes near it.
_LONGEST_HEADER: Final = 100_000_000
# Bytes of a value, for the types that scoring reads; quantized models have others besides.
WIDTHS: Final = {"F32": 4, "F16": 2, "BF16": 2}
_AGAIN: Final = "The download is incomplete: fetch the model again."


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor is.

    Attributes:
        path: its file.
        dtype: as the format names it.
        shape: its sizes.
        start: its first byte in the file.
        size: its bytes.
    """

    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int

    def read(self, offset: int, size: int) -> bytearray:
        """Some of its bytes.

        Raises:
            ModelError: the file became shorter.
        """
        data = bytearray(size)
        with self.path.open("rb") as file:
            file.seek(self.start + offset)
            if file.readinto(data) != size:
                raise ModelError(f"{self.path} became shorter while it was read.")
        return data


def tensors_of(model: str, folder: Path) -> dict[str, Tensor]:
    """All tensors of a model, by name.

    Raises:
        ModelError: a file is missing, cut short or damaged, or the files contradict each other.
    """
    shards, listed = _shards(model, folder)
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        header = read_header(model, folder / shard)
        doubled = sorted(header.keys() & tensors.keys())
        if doubled:
            raise ModelError(
                f"{model}: {doubled[0]} is in {tensors[doubled[0]].path.name} and in {shard}, and "
                "which one is meant is unknown. Fetch the model again into an empty folder."
            )
        tensors |= header
    missing = sorted(listed - tensors.keys())
    if missing:
        raise ModelError(
            f"{model}: {missing[0]} is not among its weights, nor {len(missing) - 1} others that "
            f"{INDEX} lists. {_AGAIN}"
        )
    return tensors


def _shards(model: str, folder: Path) -> tuple[list[str], set[str]]:
    """The names of the files with the weights, and of the tensors that an index lists."""
    index = folder / INDEX
    parts = sorted(path.name for path in folder.glob("model-*-of-*.safetensors"))
    if not index.is_file():
        if (folder / SINGLE).is_file():
            _check_alone(model, parts)
        elif parts:
            raise ModelError(f"{model}: {INDEX} is missing in {folder}. {_AGAIN}")
        else:
            raise ModelError(f"{model} {format_of_folder(folder, missing=SINGLE)}")
        return [SINGLE], set()
    weight_map = read_json(model, index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError(f"{model}: {index} lists no weights. Fetch the model again.")
    shards = sorted(set(map(str, weight_map.values())))
    outside = [shard for shard in shards if Path(shard).name != shard]
    if outside:
        raise ModelError(
            f"{model}: {INDEX} names {outside[0]!r}, which is no file of the folder. {_AGAIN}"
        )
    if (folder / SINGLE).is_file():
        _check_alone(model, [shard for shard in shards if shard != SINGLE])
    return shards, set(weight_map)


def _check_alone(model: str, parts: list[str]) -> None:
    # transformers would load the single file, and vLLM the shards or both.
    if parts:
        raise ModelError(
            f"{model} holds {SINGLE} and {parts[0]}: two sets of weights, and which one is meant "
            "is unknown. Remove the one that is out of date."
        )


def read_header(model: str, path: Path) -> dict[str, Tensor]:
    """The tensors in a safetensors file, if the file is as long as its header says.

    Raises:
        ModelError: the file is missing, cut short, or damaged.
    """
    if not path.is_file():
        raise ModelError(f"{model}: {path.name} is missing in {path.parent}. {_AGAIN}")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _LONGEST_HEADER or 8 + length > size:
                raise ModelError(
                    f"{model}: {path} is cut short, a Git LFS pointer, or no safetensors file: a "
                    f"header of {length} bytes in a file of {size}. {_AGAIN}"
                )
            text = file.read(length)
    except OSError as error:
        raise ModelError(f"{model}: {path} cannot be read: {error}") from error
    try:
        tensors = _entries(path, json.loads(text), 8 + length)
        whole = max(tensor.start + tensor.size for tensor in tensors.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{model}: {path} is no safetensors file. {_AGAIN}") from error
    if size != whole:
        raise ModelError(f"{model}: {path} has {size} of {whole} bytes. {_AGAIN}")
    return tensors


def _entries(path: Path, header: dict[str, Any], start: int) -> dict[str, Tensor]:
    """The tensors of a header; raises what Python does if it describes none."""
    tensors = {
        name: _tensor(path, entry, start)
        for name, entry in header.items()
        if name != "__metadata__"
    }
    end = start
    for tensor in sorted(tensors.values(), key=lambda tensor: (tensor.start, tensor.size)):
        if tensor.start != end:
            raise ValueError("tensors overlap, or there is a gap between them")
        end += tensor.size
    return tensors


def _tensor(path: Path, entry: dict[str, Any], start: int) -> Tensor:
    begin, end = entry["data_offsets"]
    shape, dtype = tuple(entry["shape"]), entry["dtype"]
    values, width = math.prod(shape), WIDTHS.get(dtype)
    numbers = (begin, end, *shape)
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("offsets and shape are no whole numbers")
    if begin > end or (width is not None and end - begin != values * width):
        raise ValueError(f"offsets {begin} and {end} for {values} values of {dtype}")
    return Tensor(path, str(dtype), shape, start + begin, end - begin)
