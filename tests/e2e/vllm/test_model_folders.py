"""A folder that cannot score is refused before vLLM starts a process, by engine and `serve`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from qwen3_ascend_retrievers import VLLMEngine
from qwen3_ascend_retrievers.errors import ModelError
from support.cli_runs import invoke
from support.engine_processes import engine_processes


def _one_id(folder: Path) -> None:
    path = folder / "tokenizer.json"
    description = json.loads(path.read_text())
    ids = description["model"]["vocab"]
    ids["yes"] = ids["no"]
    path.write_text(json.dumps(description))


def _gguf(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model.gguf")


def _long_header(folder: Path) -> None:
    with (folder / "model.safetensors").open("r+b") as file:
        file.write((3 << 30).to_bytes(8, "little"))
        file.truncate((3 << 30) + 1000)


def _fewer_layers(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text()) | {"num_hidden_layers": 2, "layer_types": None}
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_one_id, "gives 'yes' and 'no' the same id"),
        (_gguf, "is a GGUF model"),
        (_long_header, "a header of 3221225472 bytes"),
        (_fewer_layers, "Only a part of the model would be used"),
    ],
)
def test_folders_that_cannot_score(
    tiny_folder: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    damage(folder)
    before = engine_processes()
    engine = VLLMEngine(str(folder), "float32", 512, enforce_eager=True)
    with pytest.raises(ModelError, match=message):
        engine.facts()
    engine.close()
    served = invoke("serve", str(folder), "--hardware", "cpu")
    assert served.exit_code != 0
    assert message in " ".join(served.stderr.split())
    assert engine_processes() == before
