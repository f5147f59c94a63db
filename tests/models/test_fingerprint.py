"""A fingerprint is the same for the same weights, however they are stored, and for no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from qwen3_ascend_retrievers.models.files import TINY_FOLDER
from qwen3_ascend_retrievers.models.fingerprint import weights_fingerprint

SINGLE = "model.safetensors"


@pytest.fixture(scope="module")
def tensors() -> dict[str, Any]:
    """The bundled model's weights."""
    return dict(load_file(TINY_FOLDER / SINGLE))


def fingerprint(folder: Path, tensors: dict[str, Any]) -> str:
    save_file(tensors, folder / SINGLE)
    return weights_fingerprint("m", folder)


def test_it_does_not_depend_on_the_order_in_the_file(
    tmp_path: Path, tensors: dict[str, Any]
) -> None:
    reversed_order = dict(reversed(tensors.items()))
    expected = weights_fingerprint("tiny", TINY_FOLDER)
    assert fingerprint(tmp_path, reversed_order) == expected


@pytest.mark.parametrize("change", ["value", "dtype", "name"])
def test_any_change_of_a_tensor_changes_it(
    tmp_path: Path, tensors: dict[str, Any], change: str
) -> None:
    name = "model.norm.weight"
    other = dict(tensors)
    if change == "value":
        other[name] = other[name].clone()
        other[name][-1] += 1
    elif change == "dtype":
        other[name] = other[name].half()
    else:
        other["model.norm.bias"] = other.pop(name)
    assert fingerprint(tmp_path, other) != weights_fingerprint("tiny", TINY_FOLDER)
