"""LocalEngine from outside: facts, settings, silence, what it refuses and how it says so."""

from __future__ import annotations

import copy
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from qwen3_ascend_retrievers import LocalEngine, Reranker
from qwen3_ascend_retrievers.engines.base import Engine
from qwen3_ascend_retrievers.engines.configured import engine_to_config
from qwen3_ascend_retrievers.engines.local.device import pick_device, pick_dtype
from qwen3_ascend_retrievers.engines.registry import engine_from_config
from qwen3_ascend_retrievers.errors import (
    EngineClosedError,
    InvalidInputError,
    MissingDependencyError,
    ModelError,
    ScoreError,
)


def test_constructing_loads_nothing() -> None:
    engine = LocalEngine("somebody/some-model-that-is-nowhere")
    assert isinstance(engine, Engine)
    engine.close()


def test_facts() -> None:
    with Reranker(LocalEngine("tiny", max_length=100_000)) as reranker:
        facts = reranker.engine.facts()
    assert facts.model == "tiny"
    assert facts.max_length == 8192
    assert facts.counting == "always"
    assert facts.template_verified is None
    engine = LocalEngine("tiny", max_length=300)
    assert engine.facts().max_length == 300
    engine.close()


def test_a_shorter_maximum_cuts_documents() -> None:
    with Reranker(LocalEngine("tiny", max_length=120)) as reranker:
        (result,) = reranker.rank("query", ["words of a document " * 100]).results
    assert result.truncated
    assert result.tokens is not None
    assert result.tokens <= 120


def test_it_is_written_down_by_its_settings() -> None:
    engine = LocalEngine("tiny", "cpu", "bfloat16", 512, 1000)
    engine.facts()
    for again in (
        pickle.loads(pickle.dumps(engine)),
        copy.deepcopy(engine),
        engine_from_config(engine_to_config(engine)),
    ):
        assert again.config() == engine.config()
        assert again.facts() == engine.facts()
        again.close()
    assert "bfloat16" in repr(engine)
    engine.close()


def test_a_path_is_taken_as_its_text(tiny_folder: Path) -> None:
    engine = LocalEngine(tiny_folder)  # type: ignore[arg-type]  # users do this
    assert engine.config()["model"] == str(tiny_folder)


def test_loading_prints_nothing(capfd: pytest.CaptureFixture[str], tiny_folder: Path) -> None:
    with Reranker(LocalEngine(str(tiny_folder))) as reranker:
        reranker.rank("query", ["document"])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "arguments",
    [
        {"model": ""},
        {"model": None},
        {"model": 7},
        {"dtype": "float8"},
        {"dtype": torch.float32},
        {"device": "gpu"},
        {"device": "cuda:one"},
        {"device": None},
        {"max_length": 0},
        {"max_length": True},
        {"max_length": "8192"},
        {"batch_tokens": 0},
        {"batch_tokens": 2.5},
        {"revision": ""},
    ],
    ids=str,
)
def test_wrong_arguments_are_refused_at_once(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        LocalEngine(**{"model": "tiny", **arguments})


def test_a_closed_engine_says_so() -> None:
    engine = LocalEngine("tiny")
    reranker = Reranker(engine)
    reranker.rank("query", ["document"])
    engine.close()
    engine.close()
    with pytest.raises(EngineClosedError, match="Make a new engine"):
        reranker.rank("query", ["document"])
    with pytest.raises(EngineClosedError):
        engine.facts()


async def test_an_engine_is_closed_at_the_end_of_its_block() -> None:
    with LocalEngine("tiny") as engine:
        engine.facts()
    with pytest.raises(EngineClosedError):
        engine.facts()
    async with LocalEngine("tiny") as engine:
        await engine.afacts()
    with pytest.raises(EngineClosedError):
        await engine.afacts()


async def test_closing_without_blocking() -> None:
    async with Reranker(LocalEngine("tiny")) as reranker:
        await reranker.arank("query", ["document"])
    with pytest.raises(EngineClosedError):
        await reranker.arank("query", ["document"])


def test_a_document_of_two_megabytes() -> None:
    with Reranker(LocalEngine("tiny", max_length=512)) as reranker:
        first, second = reranker.rank("query", ["x y 词 \n" * 330_000, "short"]).results
    long = first if first.index == 0 else second
    assert long.truncated
    assert long.tokens is not None
    assert 500 < long.tokens <= 512


def test_damaged_weights_give_no_score(tiny_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "rerank-nan")
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][3] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with (
        Reranker(LocalEngine(str(folder))) as reranker,
        pytest.raises(ScoreError, match="weights are damaged"),
    ):
        reranker.rank("query", ["document", "another"])


def test_weights_that_the_model_lacks_are_not_made_up(tiny_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "rerank-part")
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    engine = LocalEngine(str(folder))
    with pytest.raises(ModelError, match="random numbers"):
        engine.facts()
    engine.close()


def test_a_failed_load_is_tried_again(tiny_folder: Path, tmp_path: Path) -> None:
    engine = LocalEngine(str(tmp_path / "later"))
    with pytest.raises(ModelError, match="no model folder"):
        engine.facts()
    shutil.copytree(tiny_folder, tmp_path / "later")
    assert engine.facts().max_length == 8192
    engine.close()


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_the_install_line(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    engine = LocalEngine("tiny")
    with pytest.raises(MissingDependencyError, match=r"qwen3-ascend-retrievers\[local\]"):
        engine.facts()
    engine.close()


def test_an_npu_is_never_passed_over(tmp_path: Path) -> None:
    (tmp_path / "davinci0").touch()
    with pytest.raises(MissingDependencyError, match=r"\[ascend\].*device=\"cpu\""):
        pick_device("auto", tmp_path)
    assert pick_device("cpu", tmp_path) == "cpu"


def test_the_npus_manager_is_no_npu(tmp_path: Path) -> None:
    (tmp_path / "davinci_manager").touch()
    assert pick_device("auto", tmp_path) == "cpu"


def test_a_gpu_is_never_passed_over(tmp_path: Path) -> None:
    (tmp_path / "nvidia0").touch()
    with pytest.raises(MissingDependencyError, match=r"NVIDIA GPU.*device=\"cpu\""):
        pick_device("auto", tmp_path)


def test_a_device_that_is_not_there() -> None:
    for device in ("cuda", "cuda:1", "mps"):
        with pytest.raises(ModelError, match="no such device"):
            pick_device(device)
    with pytest.raises(MissingDependencyError, match=r"\[ascend\]"):
        pick_device("npu:0")


def test_a_number_that_no_device_has(monkeypatch: pytest.MonkeyPatch) -> None:
    # There is no accelerator to ask on the machines that run this.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1") == "cuda:1"
    with pytest.raises(ModelError, match="torch sees 2 such devices"):
        pick_device("cuda:2")


@pytest.mark.parametrize(
    ("flags", "dtype"),
    [
        ("fpu avx2 avx512f", torch.float32),
        ("fpu avx512f avx512_bf16 fsrm", torch.bfloat16),
        ("amx_bf16 amx_tile", torch.bfloat16),
        ("xavx512_bf16x", torch.float32),
        ("", torch.float32),
    ],
    ids=str,
)
def test_a_cpu_takes_bfloat16_where_it_computes_in_it(
    tmp_path: Path, flags: str, dtype: Any
) -> None:
    cpu_file = tmp_path / "cpuinfo"
    cpu_file.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t: avx512_bf16\n")
    assert pick_dtype("auto", "cpu", cpu_file) is dtype
    assert pick_dtype("float32", "cpu", cpu_file) is torch.float32


def test_precisions() -> None:
    assert pick_dtype("auto", "cpu", Path("/no/such/file")) is torch.float32
    assert pick_dtype("auto", "mps") is torch.float32
    assert pick_dtype("float16", "cpu") is torch.float16
    assert pick_dtype("bfloat16", "npu:1") is torch.bfloat16


HALF_A_MODEL = """
import sys
from qwen3_ascend_retrievers import LocalEngine
from qwen3_ascend_retrievers.errors import ModelError

try:
    LocalEngine(sys.argv[1]).facts()
except ModelError as error:
    assert "incomplete" in str(error), error
    assert "torch" not in sys.modules
    sys.exit(7)
"""


def test_half_a_model_is_refused_before_torch_is_imported(
    tiny_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "rerank-half"))
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    process = _run(HALF_A_MODEL, str(folder))
    assert process.returncode == 7, process.stderr


FORKING = """
import os
from qwen3_ascend_retrievers import LocalEngine, Reranker
from qwen3_ascend_retrievers.errors import EngineError

unused, used = LocalEngine("tiny"), LocalEngine("tiny")
Reranker(used).rank("query", ["document"])
child = os.fork()
if child == 0:
    try:
        Reranker(used).rank("query", ["document"])
    except EngineError as error:
        used.close()
        os._exit(7 if "forked" in str(error) and unused.config() else 1)
    os._exit(2)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert Reranker(used).rank("query", ["document"]).status == "reranked"
"""


def test_a_forked_child_is_told() -> None:
    process = _run(FORKING)
    assert process.returncode == 0, process.stderr


def _run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)
