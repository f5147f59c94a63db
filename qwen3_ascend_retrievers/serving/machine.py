"""What this machine has to serve with: hardware, and vLLM's version without importing it."""

from __future__ import annotations

from importlib.metadata import packages_distributions, version

from ..engines.vllm.compat import INSTALL
from ..engines.vllm.platform import detect_platform
from ..engines.vllm.version import Version, parse_version
from ..errors import InvalidInputError, MissingDependencyError
from .command import Hardware


def vllm_version() -> Version | None:
    """The installed vLLM's version; None for a checkout that has no number.

    Raises:
        MissingDependencyError: vLLM is not installed.
    """
    # The CPU build's distribution has another name than its package.
    names = packages_distributions().get("vllm", [])
    if not names:
        raise MissingDependencyError(f"Serving needs vLLM in this environment: {INSTALL}")
    return parse_version(version(names[0]))


def choose_hardware(wish: Hardware | None) -> tuple[Hardware, Version | None]:
    """The hardware to serve on, and vllm-ascend's version if it is an NPU.

    Args:
        wish: what the caller says it is; None finds out. A2 and A3 need the same settings.

    Raises:
        MissingDependencyError: there is an NPU or GPU that the installed vLLM cannot use, and
            `wish` is not the CPU.
        InvalidInputError: what the caller says is not what vLLM will run on.
    """
    found = detect_platform(cpu_is_meant=wish == "cpu")
    if found.device == "npu":
        chip: Hardware = "310p" if found.chip else "a2"
        hardware = wish or chip
    else:
        hardware = wish or found.device
    device = hardware if hardware in ("cuda", "cpu") else "npu"
    if device != found.device:
        raise InvalidInputError(
            f"--hardware {hardware} does not fit: vLLM would run on {found.device} here, because "
            f"{found.why}. Leave --hardware out, or add --print to see the command for another "
            "machine."
        )
    return hardware, parse_version(found.ascend) if found.ascend else None
