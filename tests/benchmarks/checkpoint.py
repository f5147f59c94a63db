"""The model that engines of this process are measured with: random weights in the 0.6B's shape."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.records import ROOT
from benchmarks.scale import Scale


def model_folder(scale: Scale) -> str:
    """Its folder, made if need be (1.2 GB); "tiny" for a scale without layers."""
    if not scale.layers:
        return "tiny"
    folder = ROOT / "build" / "bench" / f"model-{scale.layers}"
    if not folder.is_dir():
        _make(folder, scale.layers)
    return str(folder)


def _make(folder: Path, layers: int) -> None:
    from support.qwen_tokenizer import qwen_tokenizer
    from support.random_model import SHAPE_06B, make_random_model

    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
    shape = SHAPE_06B | {"num_hidden_layers": layers}
    make_random_model(unfinished, qwen_tokenizer(), shape=shape)
    unfinished.rename(folder)
