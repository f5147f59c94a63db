"""Which settings vLLM gets on which platform. Values only."""

from __future__ import annotations

import pytest

from qwen3_ascend_retrievers.engines.vllm.platform_facts import PlatformFacts
from qwen3_ascend_retrievers.engines.vllm.tuning import ROWS, decide
from qwen3_ascend_retrievers.engines.vllm.version import Version, parse_version
from qwen3_ascend_retrievers.errors import EngineError


def npu(ascend: str, **more: object) -> PlatformFacts:
    return PlatformFacts(device="npu", ascend=parse_version(ascend), **more)  # type: ignore[arg-type]


WRONG = ["0.12.0rc1", "0.13.0", "0.13.0.post1", "0.14.0rc1", "0.17.0rc1", "0.18.0rc1"]
RIGHT = ["0.9.2rc1", "0.11.0", "0.18.0", "0.18.0.post1", "0.23.0", "0.23.0.post1"]


@pytest.mark.parametrize("version", WRONG)
def test_wrong_caches_are_switched_off(version: str) -> None:
    arguments, _ = decide(npu(version, max_length=9000))
    assert arguments["enable_prefix_caching"] is False
    assert arguments["enable_chunked_prefill"] is False
    assert arguments["max_num_batched_tokens"] >= arguments["max_model_len"] == 9000
    with pytest.raises(EngineError, match=f"wrong scores with vllm-ascend {version}"):
        decide(npu(version, prefix_caching=True))


@pytest.mark.parametrize("version", RIGHT)
def test_right_caches_are_left_on(version: str) -> None:
    arguments, _ = decide(npu(version))
    assert arguments["enable_prefix_caching"] is True
    assert "enable_chunked_prefill" not in arguments
    assert "block_size" not in arguments


def test_the_300i_duo() -> None:
    arguments, _ = decide(npu("0.23.0", chip="310P"))
    assert arguments["dtype"] == "float16"
    assert arguments["max_model_len"] == 2048
    assert arguments["compilation_config"] == {"cudagraph_capture_sizes": [1024, 512]}
    fused = {"ascend_compilation_config": {"fuse_norm_quant": False}}
    assert arguments["additional_config"] == fused
    assert decide(npu("0.23.0", chip="310P", max_length=700))[0]["max_model_len"] == 700
    assert "dtype" not in decide(npu("0.23.0", chip="310P", dtype="float32"))[0]
    with pytest.raises(EngineError, match='dtype="float16"'):
        decide(npu("0.23.0", chip="310P", dtype="bfloat16"))
    assert "dtype" not in decide(npu("0.23.0"))[0]


def test_the_cpu() -> None:
    arguments, variables = decide(PlatformFacts(device="cpu"))
    assert arguments["block_size"] == 32
    assert arguments["max_model_len"] == 8192
    assert variables["VLLM_CPU_KVCACHE_SPACE"] == "4"
    arguments, variables = decide(PlatformFacts(device="cpu", device_memory=0.5))
    assert arguments["gpu_memory_utilization"] == 0.5
    assert "VLLM_CPU_KVCACHE_SPACE" not in variables


@pytest.mark.parametrize(
    ("device", "cores", "reserved"),
    [("cpu", 1, "0"), ("cpu", 4, "0"), ("cpu", 5, None), ("cpu", None, None), ("cuda", 2, None)],
)
def test_no_core_is_left_free_where_there_are_few(
    device: str, cores: int | None, reserved: str | None
) -> None:
    _, variables = decide(PlatformFacts(device=device, cpu_cores=cores))
    assert variables.get("VLLM_CPU_NUM_OF_RESERVED_CPU") == reserved


@pytest.mark.parametrize("device", ["npu", "cuda", "cpu", "xpu"])
def test_everywhere(device: str) -> None:
    arguments, variables = decide(PlatformFacts(device=device))
    assert variables["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"
    assert arguments["max_model_len"] == 8192
    assert "enforce_eager" not in arguments
    off = decide(PlatformFacts(device=device, prefix_caching=False, enforce_eager=True))[0]
    assert off["enable_prefix_caching"] is False
    assert off["enforce_eager"] is True


def test_forked_workers_are_refused_on_an_npu_and_the_callers_choice_elsewhere() -> None:
    with pytest.raises(EngineError, match=r"MULTIPROC_METHOD=fork.*Unset it, or set it to spawn"):
        decide(npu("0.23.0", start_method="fork"))
    assert decide(npu("0.23.0", start_method="spawn")) == decide(npu("0.23.0"))
    forked = PlatformFacts(device="cpu", start_method="fork")
    assert decide(forked) == decide(PlatformFacts(device="cpu"))


def test_every_row_says_why_and_where_from() -> None:
    for row in ROWS:
        assert row.condition
        assert row.reason.endswith(".")
        assert row.source.startswith(("[C] ", "[I] ", "[V] "))


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("0.32.0", Version("0.32.0", (0, 32, 0), False)),
        ("0.13.0rc1", Version("0.13.0rc1", (0, 13, 0), True)),
        ("v0.18", Version("v0.18", (0, 18, 0), False)),
        ("0.18.0+empty", Version("0.18.0+empty", (0, 18, 0), False)),
        ("0.11.2.dev3+g1", Version("0.11.2.dev3+g1", (0, 11, 2), True)),
        ("0.23.0.post1", Version("0.23.0.post1", (0, 23, 0), False)),
        ("dev", None),
    ],
)
def test_version_numbers(text: str, version: Version | None) -> None:
    assert parse_version(text) == version
