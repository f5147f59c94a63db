"""VLLMEngine's arguments, its config, and its errors where it cannot start. No vLLM."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qwen3_ascend_retrievers import Reranker, VLLMEngine
from qwen3_ascend_retrievers.engines.base import Engine
from qwen3_ascend_retrievers.engines.registry import engine_from_config
from qwen3_ascend_retrievers.engines.vllm.checkpoint import (
    check_shards,
    fetch_checkpoint,
    lora_rank,
)
from qwen3_ascend_retrievers.engines.vllm.main_guard import check_main, check_start, guard_hint
from qwen3_ascend_retrievers.errors import (
    EngineClosedError,
    EngineError,
    InvalidInputError,
    MissingDependencyError,
    ModelError,
)
from qwen3_ascend_retrievers.models.checkpoint import Checkpoint


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": ""}, "model must be"),
        ({"model": 7}, "model must be"),
        ({"dtype": "fp16"}, "dtype must be one of auto, float32"),
        ({"max_length": 0}, "max_length must be"),
        ({"max_length": True}, "max_length must be"),
        ({"tensor_parallel_size": 0}, "tensor_parallel_size must be"),
        ({"device_memory": 0}, "device_memory must be"),
        ({"device_memory": 1.5}, "device_memory must be"),
        ({"device_memory": "4GB"}, "device_memory must be"),
        ({"prefix_caching": "yes"}, 'True, False or "auto"'),
        ({"enforce_eager": 1}, "enforce_eager must be"),
        ({"self_check": None}, "self_check must be"),
        ({"source": "hub"}, "source must be one of auto, huggingface, modelscope"),
        ({"revision": " "}, "revision must be"),
        ({"vllm_args": [1]}, "vllm_args must map"),
        ({"vllm_args": {"max_model_len": 5}}, "max_length="),
        ({"vllm_args": {"hf_overrides": {}}}, "decides what a score is"),
        ({"vllm_args": {"scheduler_cls": object()}}, "JSON"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        VLLMEngine(**{"model": "tiny", **arguments})


def test_it_is_an_engine_that_is_written_down_and_rebuilt(tmp_path: Path) -> None:
    engine = VLLMEngine(
        str(tmp_path), "float16", 700, 8, 0.8, enforce_eager=True, prefix_caching=False,
        quantization="ascend", lora="x", source="modelscope", self_check=False,
        vllm_args={"max_num_seqs": 7, "additional_config": {"a": [1]}},
    )  # fmt: skip
    assert isinstance(engine, Engine)
    config = json.loads(json.dumps(engine.tagged_config()))
    assert config["engine"] == "vllm"
    for again in (
        engine_from_config(config),
        pickle.loads(pickle.dumps(engine)),
        copy.deepcopy(engine),
    ):
        assert isinstance(again, VLLMEngine)
        assert again.tagged_config() == config
    assert "max_num_seqs" in repr(engine)
    assert engine.self_check is None


def test_a_closed_engine_says_so() -> None:
    engine = VLLMEngine("tiny")
    engine.close()
    engine.close()
    with pytest.raises(EngineClosedError):
        engine.facts()


async def test_a_closed_engine_says_so_to_async_callers() -> None:
    engine = VLLMEngine("tiny")
    await engine.aclose()
    with pytest.raises(EngineClosedError):
        await engine.afacts()


def test_without_vllm_the_line_is_named() -> None:
    code = (
        "import sys; sys.modules['vllm'] = None\n"
        "from qwen3_ascend_retrievers import Reranker, VLLMEngine\n"
        "Reranker(VLLMEngine('tiny')).rank('a', ['b'])"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300
    )
    last = process.stderr.strip().splitlines()[-1]
    assert last.startswith("qwen3_ascend_retrievers.errors.MissingDependencyError: VLLMEngine")
    assert "pip install 'qwen3-ascend-retrievers[vllm]'" in last
    assert "pip install --no-binary vllm 'qwen3-ascend-retrievers[ascend]'" in last


@pytest.fixture
def vllm_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes an importable stub named vllm, with no more than a version."""

    def make(code: str) -> None:
        (tmp_path / "vllm.py").write_text(code)
        monkeypatch.syspath_prepend(str(tmp_path))

    names = {name for name in sys.modules if name.partition(".")[0] == "vllm"}
    saved = {name: sys.modules.pop(name) for name in names}
    yield make
    sys.modules.pop("vllm", None)
    sys.modules.update(saved)


@pytest.mark.parametrize("version", ["0.8.5", "0.9.1", "0.33.0", "0.33.0rc1", "1.0.0"])
def test_a_vllm_that_is_not_supported_is_refused(vllm_of: Any, version: str) -> None:
    vllm_of(f"__version__ = {version!r}")
    with pytest.raises(MissingDependencyError) as caught:
        VLLMEngine("tiny").facts()
    message = str(caught.value)
    assert f"needs vLLM 0.9.2 to 0.32, not {version}: pip install 'qwen3-ascend-retriev" in message
    assert "pip install --upgrade qwen3-ascend-retrievers" in message


@pytest.mark.parametrize(("version", "lines"), [("0.32.9", 0), ("dev", 1)])
def test_a_vllm_without_the_engine_is_named(
    vllm_of: Any, version: str, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    vllm_of(f"__version__ = {version!r}")
    with pytest.raises(EngineError, match=r"made for vLLM 0\.9\.2 to 0\.32: pip install"):
        VLLMEngine("tiny").facts()
    warnings = [message for message in caplog.messages if "calls itself" in message]
    assert len(warnings) == lines


def test_forked_workers_are_refused_before_vllm_is_loaded(
    vllm_of: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    info = tmp_path / "vllm_ascend-0.23.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm-ascend\nVersion: 0.23.0\n")
    (info / "entry_points.txt").write_text(
        "[vllm.platform_plugins]\nascend = vllm_ascend:register\n"
    )
    vllm_of("raise SystemExit('imported')")
    monkeypatch.delenv("VLLM_PLUGINS", raising=False)
    monkeypatch.setenv("VLLM_WORKER_MULTIPROC_METHOD", "fork")
    with pytest.raises(EngineError, match="MULTIPROC_METHOD=fork breaks"):
        VLLMEngine("tiny").facts()


def test_a_broken_vllm_is_not_a_missing_one(vllm_of: Any) -> None:
    vllm_of("raise ImportError('libtorch_cpu.so: undefined symbol')")
    with pytest.raises(EngineError, match="cannot be used: libtorch_cpu"):
        VLLMEngine("tiny").facts()


def test_a_load_that_failed_is_tried_again(vllm_of: Any) -> None:
    vllm_of("raise ImportError('first')")
    reranker = Reranker(VLLMEngine("tiny"))
    for _ in range(2):
        with pytest.raises(EngineError, match="first"):
            reranker.rank("a", ["b"])


def test_modelscope_is_asked_for_only_where_it_is_wanted(
    monkeypatch: pytest.MonkeyPatch, tiny_folder: Path
) -> None:
    monkeypatch.setitem(sys.modules, "modelscope", None)
    with pytest.raises(MissingDependencyError, match="pip install modelscope"):
        fetch_checkpoint("Qwen/Qwen3-Reranker-0.6B", None, "modelscope")
    monkeypatch.setenv("VLLM_USE_MODELSCOPE", "True")
    with pytest.raises(MissingDependencyError, match="pip install modelscope"):
        fetch_checkpoint("Qwen/Qwen3-Reranker-0.6B", None, "auto")
    assert fetch_checkpoint(str(tiny_folder), None, "auto").kind == "original"


def test_modelscope_fetches_nothing_large_of_a_wrong_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_folder: Path
) -> None:
    downloads: list[str] = []

    def one_file(model: str, name: str, revision: str | None) -> str:
        downloads.append(name)
        return str(tiny_folder / name)

    def whole(model: str, revision: str | None) -> str:
        downloads.append(f"{model}@{revision}")
        return str(tiny_folder)

    hub = SimpleNamespace(model_file_download=one_file, snapshot_download=whole)
    monkeypatch.setitem(sys.modules, "modelscope", hub)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="embedding model"):
        fetch_checkpoint("Qwen/Qwen3-Embedding-0.6B", None, "modelscope")
    assert downloads == ["config.json"]
    checkpoint = fetch_checkpoint("Qwen/Qwen3-Reranker-0.6B", "v1", "modelscope")
    assert checkpoint.folder == tiny_folder
    assert downloads == ["config.json", "config.json", "Qwen/Qwen3-Reranker-0.6B@v1"]


def test_tensor_parallelism_must_leave_both_answers_on_the_first_card() -> None:
    original = Checkpoint("m", Path(), "original", 151_669, 40_960)
    check_shards(original, (9693, 2152), 8)
    with pytest.raises(ModelError, match="tensor_parallel_size=16"):
        check_shards(original, (9693, 2152), 16)
    check_shards(Checkpoint("m", Path(), "converted", 151_669, 40_960), (9693, 2152), 16)


def test_a_lora_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"adapter_config\.json"):
        lora_rank(str(tmp_path))
    config = tmp_path / "adapter_config.json"
    for rank, expected in ((4, 8), (16, 16), (33, 64)):
        config.write_text(json.dumps({"r": rank}))
        assert lora_rank(str(tmp_path)) == expected
    config.write_text(json.dumps({"r": 1000}))
    with pytest.raises(ModelError, match="rank 1000"):
        lora_rank(str(tmp_path))


def test_a_worker_that_imports_the_script_is_told_of_the_guard() -> None:
    with pytest.raises(EngineError, match="__main__"):
        check_start(SimpleNamespace(_inheriting=True, daemon=False))
    with pytest.raises(EngineError, match="daemonic"):
        check_start(SimpleNamespace(daemon=True))
    check_start(SimpleNamespace(daemon=False))


def run_as_main(arguments: list[str], text: str = "", **options: Any) -> str:
    """Standard error of a Python process that is run like this."""
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=120, check=False, **options
    ).stderr


CHECK = "from qwen3_ascend_retrievers.engines.vllm.main_guard import check_main\ncheck_main(None)\n"


def test_a_main_script_that_is_no_file_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(CHECK)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__main__.py").write_text(CHECK)
    assert "EngineError: The main script is not in a file: there is no" in run_as_main([], CHECK)
    remove_itself = "__import__('os').remove(__file__)\n"
    script.with_name("gone.py").write_text(remove_itself + CHECK)
    assert "gone.py" in run_as_main([str(tmp_path / "gone.py")])
    shell = f'"{sys.executable}" <(cat "{script}")'
    piped = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert "The main script is not in a file" in piped.stderr
    # All of these work: nothing is imported again, or it can be.
    for good in (["-c", CHECK], [str(script)], ["-m", "script"], ["-m", "package"], ["package"]):
        assert run_as_main(good, cwd=tmp_path) == ""
    assert "Error" not in run_as_main(["-i"], CHECK)


def test_forked_workers_need_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "<stdin>", raising=False)
    check_main("fork")
    for method in (None, "spawn"):
        with pytest.raises(EngineError, match="not in a file"):
            check_main(method)


def test_the_guard_is_looked_for(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("main()\n")
    assert "no main guard" in guard_hint(str(script))
    script.write_text("if __name__ == '__main__':\n    main()\n")
    assert guard_hint(str(script)) == ""
    assert guard_hint(str(tmp_path / "missing.py")) == ""
    script.write_text("no python")
    assert guard_hint(str(script)) == ""
