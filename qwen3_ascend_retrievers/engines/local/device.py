"""Where the model runs and in which precision. An NPU or GPU is never ignored silently."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from ...errors import InvalidInputError, MissingDependencyError, ModelError
from ...settings import printed

_DEVICE_NAME: Final = re.compile(r"auto|cpu|mps|(cuda|npu)(:\d+)?")
_DEVICE_FILES: Final = Path("/dev")
_CPU_FILE: Final = Path("/proc/cpuinfo")
# x86's instructions that multiply it.
_BFLOAT16_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16"})
_LOCAL_CPU_ADVICE: Final = 'To run on the CPU all the same, say so: LocalEngine(..., device="cpu").'


def check_local_devices(device: Any) -> str | list[str]:
    """`device` if it is auto, cpu, mps, cuda, cuda:N, npu or npu:N, or a list of these.

    Raises:
        InvalidInputError: it is something else.
    """
    if not isinstance(device, list | tuple):
        return _checked_device(device)
    if not device:
        raise InvalidInputError("device is an empty list; it needs at least one device.")
    return [_checked_device(each) for each in device]


def _checked_device(device: Any) -> str:
    if not isinstance(device, str) or not _DEVICE_NAME.fullmatch(device):
        raise InvalidInputError(
            "device must be auto, cpu, cuda, cuda:0, npu, npu:0 or mps, or a list of these, not "
            f"{printed(device)}."
        )
    return device


def pick_device(device: str, device_files: Path = _DEVICE_FILES) -> str:
    """The torch device that a checked `device` means on this machine.

    "auto" is the NPU, else CUDA, else MPS; the CPU only where there is none of them.

    Args:
        device: see `check_local_devices`.
        device_files: where the drivers make their device files.

    Raises:
        MissingDependencyError: torch cannot use the NPU or GPU without another package.
        ModelError: the device is not there, or its software does not start.
    """
    torch = import_module("torch")
    if device == "auto":
        device = _automatic(torch, device_files)
    kind = device.partition(":")[0]
    if kind == "npu":
        _load_torch_npu()
    parent = torch.backends if kind == "mps" else torch
    if kind != "cpu" and not getattr(parent, kind).is_available():
        raise ModelError(
            f"device={device!r}: torch {torch.__version__} sees no such device. Check the driver "
            "and, for an NPU, that CANN's set_env.sh was sourced."
        )
    index = device.partition(":")[2]
    if index and int(index) >= (count := getattr(torch, kind).device_count()):
        raise ModelError(f"device={device!r}: torch sees {count} such devices, counted from 0.")
    return device


def pick_dtype(dtype: str, device: str, cpu_file: Path = _CPU_FILE) -> Any:
    """The torch dtype: "auto" is bfloat16 where the device computes in it, else float32 or float16.

    float32 is for MPS and for a CPU without instructions for bfloat16, on which it takes four times
    as long; float16 for other devices without it, such as the Atlas 300I DUO.

    Args:
        dtype: "auto", or a dtype's name.
        device: where the model runs.
        cpu_file: where Linux lists the CPU's instructions.
    """
    torch = import_module("torch")
    if dtype == "auto":
        dtype = _automatic_dtype(torch, device.partition(":")[0], cpu_file)
    return getattr(torch, dtype)


def _automatic(torch: Any, device_files: Path) -> str:
    if any(device_files.glob("davinci[0-9]*")):
        return "npu"
    if torch.cuda.is_available():
        return "cuda"
    if any(device_files.glob("nvidia[0-9]*")):
        raise MissingDependencyError(
            f"This machine has an NVIDIA GPU that torch {torch.__version__} cannot use. Install "
            f"a torch built for it (https://pytorch.org/get-started). {_LOCAL_CPU_ADVICE}"
        )
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _load_torch_npu() -> None:
    if find_spec("torch_npu") is None:
        raise MissingDependencyError(
            "The NPU needs torch_npu, which is not installed: "
            f"pip install 'qwen3-ascend-retrievers[ascend]'. {_LOCAL_CPU_ADVICE}"
        )
    try:
        import_module("torch_npu")
    # It loads CANN's libraries, which fail in many ways.
    except Exception as error:
        raise ModelError(
            f"torch_npu does not start: {error}. Source CANN's set_env.sh, and check that "
            f"torch_npu's version is the one for this torch. {_LOCAL_CPU_ADVICE}"
        ) from error


def _automatic_dtype(torch: Any, kind: str, cpu_file: Path) -> str:
    if kind == "mps":
        return "float32"
    if kind == "cpu":
        return "bfloat16" if _computes_bfloat16(cpu_file) else "float32"
    return "bfloat16" if getattr(torch, kind).is_bf16_supported() else "float16"


def _computes_bfloat16(cpu_file: Path) -> bool:
    try:
        text = cpu_file.read_text("utf-8", "replace")
    except OSError:
        return False
    flags = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return flags is not None and not _BFLOAT16_FLAGS.isdisjoint(flags.group(1).split())
