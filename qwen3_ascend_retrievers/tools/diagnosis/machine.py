"""What this machine is, as its files and npu-smi say. Nothing heavy is imported."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from ...settings import environment

# CANN's own variables, and where its installer puts it.
_CANN_VARIABLES: Final = ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME")
_CANN_FOLDERS: Final = ("ascend-toolkit/latest", "cann/latest", "cann")
_CANN_VERSION_FILES: Final = "*-linux/ascend_toolkit_install.info"
# A device's first line in `npu-smi info`: its number, the chip's name, its health.
_CHIP: Final = re.compile(r"^\|\s*\d+\s+(\S+)\s*\|\s*[A-Za-z]+\s*\|", re.MULTILINE)
_NPU_SMI_SECONDS: Final = 20


def machine_facts(root: Path = Path("/")) -> dict[str, str]:
    """Python, the platform, processor and devices, and the versions that no package has.

    Args:
        root: where /dev, /proc and /usr/local are.
    """
    devices = npu_devices(root)
    facts = {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "processor": _first_value(root / "proc/cpuinfo", "model name") or platform.machine(),
        "NPU": ", ".join(devices),
        "NPU chips": ", ".join(_chips()) if devices else "",
        "NPU driver": driver_version(root) or "",
        "CANN": _cann_version(root),
        "GPU": ", ".join(_gpus(root)),
    }
    return {name: text for name, text in facts.items() if text}


def npu_devices(root: Path) -> list[str]:
    """The names of the NPUs' device files."""
    return sorted(path.name for path in (root / "dev").glob("davinci[0-9]*"))


def driver_file(root: Path) -> Path:
    """Where the NPU driver's version is."""
    return root / "usr/local/Ascend/driver/version.info"


def driver_version(root: Path) -> str | None:
    """The NPU driver's version; None if no file has one."""
    return _first_value(driver_file(root), "Version")


def cann_setting() -> str | None:
    """The folder that CANN's set_env.sh has set; None without it."""
    return next((environment(name) for name in _CANN_VARIABLES if environment(name)), None)


def cann_folder(root: Path) -> Path | None:
    """Where CANN is installed; None if it is not."""
    base = root / "usr/local/Ascend"
    return next((base / name for name in _CANN_FOLDERS if (base / name).is_dir()), None)


def _cann_version(root: Path) -> str:
    setting = cann_setting()
    folder = Path(setting) if setting else cann_folder(root)
    files = sorted(folder.glob(_CANN_VERSION_FILES)) if folder else []
    versions = [_first_value(path, "version") for path in files]
    return next((text for text in versions if text), "")


def _chips() -> list[str]:
    """The chips' names by npu-smi; none if it is missing, hangs or fails."""
    program = shutil.which("npu-smi")
    if program is None:
        return []
    try:
        table = subprocess.run(  # noqa: S603 - the driver's own program, without arguments of ours
            [program, "info"], capture_output=True, text=True, timeout=_NPU_SMI_SECONDS
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return []
    return _CHIP.findall(table.stdout)


def _gpus(root: Path) -> list[str]:
    files = sorted((root / "proc/driver/nvidia/gpus").glob("*/information"))
    return [name for path in files if (name := _first_value(path, "Model"))]


def _first_value(path: Path, name: str) -> str | None:
    """The value of the first line `name=value` or `name: value` of a file; None without one."""
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return None
    match = re.search(rf"^{name}\s*[=:][ \t]*(\S.*?)\s*$", text, re.MULTILINE)
    return match.group(1) if match else None
