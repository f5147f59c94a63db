"""What breaks, breaks with a typed error, in time, and leaves no process behind. Real engines."""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from safetensors.torch import load_file, save_file

from qwen3_ascend_retrievers import Reranker, VLLMEngine
from qwen3_ascend_retrievers.engines.vllm.compat import installed_vllm
from qwen3_ascend_retrievers.errors import EngineError, InvalidInputError, ModelError
from support.engine_processes import are_gone, engine_processes

Start = Callable[..., VLLMEngine]

# Long enough for a loaded machine; a test without faults does not wait for it.
START_SECONDS = 300.0
OPTIONS = "'tiny', dtype='float32', max_length=512, enforce_eager=True, self_check=False"


def seconds_after(load: float) -> float:
    """How long a fault may take to show, where loading the engine took `load` seconds."""
    return max(30.0, 10 * load)


def test_a_killed_worker_is_a_typed_error_and_no_hang(tiny_folder: Path) -> None:
    before = engine_processes()
    engine = VLLMEngine(str(tiny_folder), "float32", 512, enforce_eager=True, self_check=False)
    reranker = Reranker(engine)
    begun = time.monotonic()
    reranker.rank("egg", ["boil"])
    allowed = seconds_after(time.monotonic() - begun)
    mine = engine_processes() - before
    caught: list[BaseException] = []

    def use() -> None:
        try:
            while True:
                reranker.rank("egg", [f"boil {n} " * 50 for n in range(200)])
        except EngineError as error:
            caught.append(error)

    user = threading.Thread(target=use)
    user.start()
    time.sleep(1)
    # The youngest is the worker, a child of the engine's process.
    os.kill(max(mine), signal.SIGKILL)
    killed = time.monotonic()
    user.join(allowed)
    assert not user.is_alive()
    assert "have died" in str(caught[0])
    with pytest.raises(EngineError, match="have died"):
        reranker.rank("egg", ["boil"])
    assert time.monotonic() - killed <= allowed
    reranker.close()
    assert are_gone(mine)


def test_more_memory_for_the_cache_than_there_is(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = engine_processes()
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "4000")
    engine = VLLMEngine(str(tiny_folder), "float32", 512, enforce_eager=True)
    with pytest.raises(EngineError, match=r"(?i)available memory.*4000") as caught:
        engine.facts()
    assert "Lower device_memory, max_length" in str(caught.value)
    assert engine_processes() <= before
    engine.close()


def test_a_dtype_that_vllm_refuses(tiny_folder: Path) -> None:
    before = engine_processes()
    engine = VLLMEngine(str(tiny_folder), "float32", 512, quantization="fp8", enforce_eager=True)
    with pytest.raises(EngineError, match=r"torch\.float32 is not supported") as caught:
        engine.facts()
    assert "Choose another dtype." in str(caught.value)
    assert engine_processes() <= before
    engine.close()


def test_a_missing_model() -> None:
    with pytest.raises(ModelError, match="no model folder"):
        VLLMEngine("./no/such/folder").facts()


def test_a_half_downloaded_model(random_folder: Path, tmp_path: Path) -> None:
    for file in random_folder.iterdir():
        content = file.read_bytes()
        size = len(content) // 2 if file.suffix == ".safetensors" else len(content)
        (tmp_path / file.name).write_bytes(content[:size])
    before = engine_processes()
    with pytest.raises(ModelError, match="incomplete"):
        VLLMEngine(str(tmp_path)).facts()
    assert engine_processes() == before


def test_an_embedding_model_is_refused_by_name(random_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "Qwen3-Embedding-0.6B"
    folder.symlink_to(random_folder)
    with pytest.raises(ModelError, match="embedding model"):
        VLLMEngine(str(folder)).facts()


def test_an_argument_that_vllm_does_not_have(tiny_folder: Path) -> None:
    engine = VLLMEngine(str(tiny_folder), vllm_args={"no_such_argument": 1})
    with pytest.raises(ValueError, match="no engine argument 'no_such_argument'"):
        engine.facts()
    engine.close()


async def test_a_failed_requests_zero_is_an_error() -> None:
    from vllm.outputs import ClassificationOutput, PoolingRequestOutput

    outputs = ClassificationOutput([0.0])
    error = SimpleNamespace(code="internal", message="it broke")

    class Engine:
        async def encode(self, *_: Any, **__: Any) -> Any:
            yield PoolingRequestOutput("name", outputs, [1, 2], 0, True, error=error)

    vllm = await asyncio.to_thread(installed_vllm)
    with pytest.raises(EngineError, match="it broke"):
        await vllm.score_prompt(Engine(), [1, 2], "name")


def test_the_model_folder_is_only_read(start: Start, random_folder: Path) -> None:
    def listed() -> dict[str, tuple[int, float]]:
        return {
            str(path): (path.stat().st_size, path.stat().st_mtime)
            for path in random_folder.rglob("*")
        }

    before = listed()
    Reranker(start(random_folder, "float32")).rank("egg", ["boil"])
    assert listed() == before


def script(folder: Path, body: str, *, guard: bool = True) -> subprocess.Popen[str]:
    """A running script of the user's, in a process group of its own."""
    lines = [
        "from qwen3_ascend_retrievers import Reranker, VLLMEngine",
        "def main():",
        f"    reranker = Reranker(VLLMEngine({OPTIONS}))",
        *(f"    {line}" for line in body.splitlines()),
        "if __name__ == '__main__':\n    main()" if guard else "main()",
    ]
    path = folder / "script.py"
    path.write_text("\n".join(lines))
    return subprocess.Popen(
        [sys.executable, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def family(process: subprocess.Popen[str]) -> set[int]:
    return {child.pid for child in psutil.Process(process.pid).children(recursive=True)}


def first_line(process: subprocess.Popen[str]) -> tuple[str, float]:
    """What a script prints first, after its load, and how long a fault may take after it."""
    begun = time.monotonic()
    assert process.stdout is not None
    return process.stdout.readline(), seconds_after(time.monotonic() - begun)


# Loads the engine, says so, and scores until it is ended.
SCORING = (
    "reranker.rank('egg', ['boil'])\nprint('ranked', flush=True)\n"
    "while True:\n    reranker.rank('egg', [f'boil {n} ' * 50 for n in range(500)])"
)


def scoring(folder: Path) -> tuple[subprocess.Popen[str], set[int], float]:
    """A script that scores, the processes below it, and how long a fault may take to show."""
    process = script(folder, SCORING)
    first, allowed = first_line(process)
    assert first == "ranked\n"
    return process, family(process), allowed


def ended(process: subprocess.Popen[str], seconds: float) -> tuple[str, str]:
    """What it wrote after that on both streams; it must end in this time."""
    try:
        return process.communicate(timeout=seconds)
    finally:
        process.kill()
        process.wait()


def test_an_exception_and_a_clean_standard_output(tmp_path: Path) -> None:
    process = script(
        tmp_path,
        "reranker.rank('egg', ['boil'])\nprint('ranked', flush=True)\n"
        "__import__('time').sleep(2)\nraise SystemError('on purpose')",
    )
    first, allowed = first_line(process)
    pids = family(process)
    out, err = ended(process, allowed)
    assert (first, out) == ("ranked\n", ""), "vLLM wrote on standard output"
    assert "SystemError: on purpose" in err
    assert "Exception ignored" not in err
    assert process.returncode == 1
    assert pids
    assert are_gone(pids)


def test_ctrl_c_while_scoring(tmp_path: Path) -> None:
    process, pids, allowed = scoring(tmp_path)
    process.send_signal(signal.SIGINT)
    _, err = ended(process, allowed)
    assert "KeyboardInterrupt" in err
    assert are_gone(pids)


def test_ctrl_c_while_loading(tmp_path: Path) -> None:
    process = script(tmp_path, "reranker.rank('egg', ['boil'])")
    deadline = time.monotonic() + START_SECONDS
    pids: set[int] = set()
    # The resource tracker comes first, then vLLM's engine.
    while len(pids) < 2 and time.monotonic() < deadline:
        pids = family(process)
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = ended(process, START_SECONDS)
    assert "KeyboardInterrupt" in err
    assert are_gone(pids)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_program_that_is_ended_while_scoring(tmp_path: Path, number: signal.Signals) -> None:
    process, pids, allowed = scoring(tmp_path)
    time.sleep(0.5)
    process.send_signal(number)
    ended(process, allowed)
    assert process.returncode == -number, "a handler of the caller's was replaced"
    assert are_gone(pids)


def test_a_program_that_is_ended_while_loading(tmp_path: Path) -> None:
    process = script(tmp_path, "reranker.rank('egg', ['boil'])")
    deadline = time.monotonic() + START_SECONDS
    # The resource tracker, the watchdog and vLLM's engine; the worker may come too late for it.
    while len(family(process)) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    pids = family(process)
    process.kill()
    ended(process, START_SECONDS)
    assert len(pids) >= 3
    assert are_gone(pids)


def test_a_killed_engine_process_is_a_typed_error(tmp_path: Path) -> None:
    process, pids, allowed = scoring(tmp_path)
    (engine,) = (pid for pid in pids if psutil.Process(pid).name() == "VLLM::EngineCore")
    os.kill(engine, signal.SIGKILL)
    _, err = ended(process, allowed)
    assert "EngineClosedError: vLLM's worker processes have died" in err
    assert are_gone(pids)


def test_a_script_without_a_guard_is_told_once(tmp_path: Path) -> None:
    # With a guard that the engine is not under, too: the worker itself says what happened.
    body = "reranker.rank('egg', ['boil'])\nif __name__ == '__main__': print('end')"
    process = script(tmp_path, body, guard=False)
    _, err = ended(process, START_SECONDS)
    assert process.returncode == 1
    assert "made an engine while it was being imported" in err
    assert err.count("under `if __name__") == 1
    assert err.count("Traceback") == 1


def test_a_script_from_standard_input_is_told(tmp_path: Path) -> None:
    text = f"from qwen3_ascend_retrievers import VLLMEngine\nVLLMEngine({OPTIONS}).facts()\n"
    process = subprocess.run(
        [sys.executable],
        input=text,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert process.returncode == 1
    assert "EngineError: The main script is not in a file" in process.stderr
    assert process.stderr.count("Traceback") == 1


def test_a_reason_without_words_has_its_place(tiny_folder: Path) -> None:
    arguments = {"worker_cls": "support.spoiled_worker.AssertingWorker"}
    engine = VLLMEngine(str(tiny_folder), "float32", 512, enforce_eager=True, vllm_args=arguments)
    with pytest.raises(
        EngineError, match=r"AssertionError \(.*spoiled_worker\.py, line \d+, in load"
    ):
        engine.facts()
    engine.close()


def test_damaged_weights_are_no_matter_of_the_prefix_cache(
    tiny_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "rerank"))
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] *= math.nan
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    engine = VLLMEngine(str(folder), "float32", 512, enforce_eager=True)
    with pytest.raises(ModelError, match="weights are damaged"):
        engine.facts()
    engine.close()


@pytest.mark.parametrize("arguments", [{"max_num_seqs": "abc"}, {"block_size": 7}])
def test_a_wrong_value_in_vllm_args_is_named(tiny_folder: Path, arguments: dict[str, Any]) -> None:
    engine = VLLMEngine(str(tiny_folder), "float32", 512, enforce_eager=True, vllm_args=arguments)
    (name,) = arguments
    with pytest.raises(InvalidInputError, match=f"vllm_args: vLLM does not take {name}="):
        engine.facts()
    engine.close()
