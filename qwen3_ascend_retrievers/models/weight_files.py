"""The tensors in a model's safetensors files: names, shapes and offsets, from the files' headers.

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
from .files import FETCH_AGAIN, read_json
from .formats import format_of_folder

INDEX_FILE: Final = "model.safetensors.index.json"
SINGLE_FILE: Final = "model.safetensors"
# The reference implementation has the same limit; no model's header comes near it.
_MAX_HEADER_BYTES: Final = 100_000_000
# Bytes of a value, for the dtypes that scoring reads; quantized models have others besides.
DTYPE_BYTES: Final = {"F32": 4, "F16": 2, "BF16": 2}
# For each file its name, its size in bytes and its time in ns.
FileStamps = tuple[tuple[str, int, int], ...]
_DOWNLOAD_ADVICE: Final = "The download is incomplete: fetch the model again."


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor's place in a file.

    Attributes:
        path: the file.
        dtype: as the safetensors format names it.
        shape: its dimensions.
        start: offset of its first byte in the file.
        size: in bytes.
    """

    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int

    def read(self, offset: int, size: int) -> bytearray:
        """`size` bytes of it, from `offset` on.

        Raises:
            ModelError: the file became shorter.
        """
        buffer = bytearray(size)
        with self.path.open("rb") as file:
            file.seek(self.start + offset)
            if file.readinto(buffer) != size:
                raise ModelError(f"{self.path} became shorter while it was read.")
        return buffer


def file_stamps(folder: Path) -> FileStamps:
    """What tells a folder's weights and configuration from those that replace them later."""
    paths = sorted([*folder.glob("*.safetensors"), *folder.glob("*config.json")])
    # A link to nowhere is a missing file to whoever needs it.
    stats = [(path.name, path.stat()) for path in paths if path.exists()]
    return tuple([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])


def tensors_of(model: str, folder: Path) -> dict[str, Tensor]:
    """All tensors of a model, by name.

    Raises:
        ModelError: a file is missing, cut short or damaged, or the files contradict each other.
    """
    shards, indexed_names = _shards(model, folder)
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        header = read_header(model, folder / shard)
        duplicates = sorted(header.keys() & tensors.keys())
        if duplicates:
            raise ModelError(
                f"{model}: {duplicates[0]} is in {tensors[duplicates[0]].path.name} and in "
                f"{shard}, and which one is meant is unknown. Fetch the model again into an empty "
                "folder."
            )
        tensors |= header
    missing_names = sorted(indexed_names - tensors.keys())
    if missing_names:
        raise ModelError(
            f"{model}: {missing_names[0]} is not among its weights, nor {len(missing_names) - 1} "
            f"others that {INDEX_FILE} lists. {_DOWNLOAD_ADVICE}"
        )
    return tensors


def _shards(model: str, folder: Path) -> tuple[list[str], set[str]]:
    """The names of the files with the weights, and of the tensors that an index lists."""
    index = folder / INDEX_FILE
    shard_files = sorted(path.name for path in folder.glob("model-*-of-*.safetensors"))
    if not index.is_file():
        if (folder / SINGLE_FILE).is_file():
            _check_single_set(model, shard_files)
        elif shard_files:
            raise ModelError(f"{model}: {INDEX_FILE} is missing in {folder}. {_DOWNLOAD_ADVICE}")
        else:
            raise ModelError(f"{model} {format_of_folder(folder, missing_file=SINGLE_FILE)}")
        return [SINGLE_FILE], set()
    weight_map = read_json(model, index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError(f"{model}: {index} lists no weights. {FETCH_AGAIN}")
    shards = sorted(set(map(str, weight_map.values())))
    outside = [shard for shard in shards if Path(shard).name != shard]
    if outside:
        raise ModelError(
            f"{model}: {INDEX_FILE} names {outside[0]!r}, which is no file of the folder. "
            f"{_DOWNLOAD_ADVICE}"
        )
    if (folder / SINGLE_FILE).is_file():
        _check_single_set(model, [shard for shard in shards if shard != SINGLE_FILE])
    return shards, set(weight_map)


def _check_single_set(model: str, shard_files: list[str]) -> None:
    # transformers would load the single file, and vLLM the shards or both.
    if shard_files:
        raise ModelError(
            f"{model} holds {SINGLE_FILE} and {shard_files[0]}: two sets of weights, and which one "
            "is meant is unknown. Remove the one that is out of date."
        )


def read_header(model: str, path: Path) -> dict[str, Tensor]:
    """The tensors in a safetensors file, if the file is as long as its header says.

    Raises:
        ModelError: the file is missing, cut short, or damaged.
    """
    if not path.is_file():
        raise ModelError(f"{model}: {path.name} is missing in {path.parent}. {_DOWNLOAD_ADVICE}")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _MAX_HEADER_BYTES or 8 + length > size:
                raise ModelError(
                    f"{model}: {path} is cut short, a Git LFS pointer, or no safetensors file: a "
                    f"header of {length} bytes in a file of {size}. {_DOWNLOAD_ADVICE}"
                )
            text = file.read(length)
    except OSError as error:
        raise ModelError(f"{model}: {path} cannot be read: {error}") from error
    try:
        tensors = _parse_header(path, json.loads(text), 8 + length)
        expected_size = max(tensor.start + tensor.size for tensor in tensors.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{model}: {path} is no safetensors file. {_DOWNLOAD_ADVICE}") from error
    if size != expected_size:
        raise ModelError(f"{model}: {path} has {size} of {expected_size} bytes. {_DOWNLOAD_ADVICE}")
    return tensors


def _parse_header(path: Path, header: dict[str, Any], start: int) -> dict[str, Tensor]:
    """The tensors of a header; built-in exceptions pass through if it is malformed."""
    tensors = {
        name: _parse_entry(path, entry, start)
        for name, entry in header.items()
        if name != "__metadata__"
    }
    end = start
    for tensor in sorted(tensors.values(), key=lambda tensor: (tensor.start, tensor.size)):
        if tensor.start != end:
            raise ValueError("tensors overlap, or there is a gap between them")
        end += tensor.size
    return tensors


def _parse_entry(path: Path, entry: dict[str, Any], start: int) -> Tensor:
    begin, end = entry["data_offsets"]
    shape, dtype = tuple(entry["shape"]), entry["dtype"]
    values, width = math.prod(shape), DTYPE_BYTES.get(dtype)
    numbers = (begin, end, *shape)
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("offsets and shape are no whole numbers")
    if begin > end or (width is not None and end - begin != values * width):
        raise ValueError(f"offsets {begin} and {end} for {values} values of {dtype}")
    return Tensor(path, str(dtype), shape, start + begin, end - begin)
