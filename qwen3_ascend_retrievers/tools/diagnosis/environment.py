"""This machine: Python, packages, NPU devices, driver and CANN. Nothing heavy is imported."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from ...engines.registry import PUBLIC
from ..wording import counted
from .findings import Finding
from .machine import cann_folder, cann_setting, driver_file, driver_version, npu_devices

_ENGINE_PACKAGES: Final = dict.fromkeys(package for row in PUBLIC for package in row.packages)
PACKAGES: Final = (
    "qwen3-ascend-retrievers",
    *_ENGINE_PACKAGES,
    "langchain-core",
    "llama-index-core",
)
_VLLM_PROJECT: Final = "https://github.com/vllm-project"
_POLICY: Final = "https://docs.vllm.ai/projects/ascend (versioning policy)"
_GUIDE: Final = "https://vllm-ascend.readthedocs.io (installation)"


@dataclass(frozen=True, slots=True)
class _KnownBad:
    """Releases with a known defect: `package` from `first` up to, without, `fixed`."""

    package: str
    first: str
    fixed: str
    problem: str
    remedy: str
    source: str


_KNOWN_BAD: Final = (
    _KnownBad(
        "vllm-ascend",
        "0.12.0rc1",
        "0.18.0",
        "a prefix-cache hit gives wrong scores",
        "Upgrade to vllm-ascend 0.18.0 or later, or serve with --no-enable-prefix-caching and "
        "--no-enable-chunked-prefill.",
        f"{_VLLM_PROJECT}/vllm-ascend/issues/7145",
    ),
    _KnownBad(
        "vllm",
        "0.11.1rc4",
        "0.11.1",
        "Qwen3-Reranker-8B scores everything 0.5",
        "Install another vLLM release.",
        f"{_VLLM_PROJECT}/vllm/issues/27857",
    ),
)
# vllm-ascend requires the vLLM of its own number, with this exception (its versioning policy).
_OTHER_VLLM: Final = {"0.14.0": "0.14.1"}
# torch-npu that each release of vllm-ascend is built for (its release notes).
_TORCH_NPU: Final = {"0.11.0": "2.7.1", "0.13.0": "2.8.0", "0.18.0": "2.9.0", "0.23.0": "2.10.0"}


def versions() -> dict[str, str]:
    """Versions of the installed packages that matter, by name."""
    installed: dict[str, str] = {}
    for name in PACKAGES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    return installed


def check_environment(
    installed: Mapping[str, str] | None = None, root: Path = Path("/")
) -> list[Finding]:
    """Findings about Python, packages, devices and CANN.

    Args:
        installed: versions by package; None reads this environment's.
        root: where /dev and /usr/local are.
    """
    installed_versions = versions() if installed is None else installed
    python = f"{platform.python_implementation()} {platform.python_version()} on {sys.platform}"
    packages = ", ".join(f"{name} {number}" for name, number in installed_versions.items())
    findings = [Finding("Python", "green", python), Finding("packages", "green", packages)]
    findings += [
        _known_bad_finding(bad, installed_versions[bad.package])
        for bad in _KNOWN_BAD
        if _is_bad(bad, installed_versions)
    ]
    findings += _check_version_pairs(installed_versions)
    devices = npu_devices(root)
    if devices:
        findings += _check_npu(devices, installed_versions, root)
    else:
        findings.append(Finding("NPU", "green", "none on this machine"))
    return findings


def _is_bad(bad: _KnownBad, installed: Mapping[str, str]) -> bool:
    number = installed.get(bad.package)
    return number is not None and _sort_key(bad.first) <= _sort_key(number) < _sort_key(bad.fixed)


def _known_bad_finding(bad: _KnownBad, number: str) -> Finding:
    message = f"{bad.package} {number}: {bad.problem}"
    return Finding("known-bad version", "red", message, bad.remedy, bad.source)


def _check_version_pairs(installed: Mapping[str, str]) -> list[Finding]:
    """Whether the versions of vllm-ascend, vllm and torch-npu fit each other."""
    ascend, vllm, npu = (installed.get(name, "") for name in ("vllm-ascend", "vllm", "torch-npu"))
    release, vllm_release = _release_number(ascend), _release_number(vllm)
    findings: list[Finding] = []
    vllm_needed = _OTHER_VLLM.get(release, release)
    if release and vllm_release and vllm_release != vllm_needed:
        remedy = (
            f"VLLM_TARGET_DEVICE=empty pip install --no-binary vllm vllm=={vllm_needed}, or use "
            "the official container."
        )
        findings.append(
            _version_mismatch(
                f"vllm-ascend {ascend} is made for vllm {vllm_needed}", vllm, remedy, _POLICY
            )
        )
    torch_npu = _TORCH_NPU.get(release)
    if torch_npu and npu and not npu.startswith(torch_npu):
        remedy = f"pip install torch-npu=={torch_npu}, or use the official container."
        requirement = f"vllm-ascend {ascend} is built for torch-npu {torch_npu}"
        findings.append(_version_mismatch(requirement, npu, remedy, _GUIDE))
    return findings


def _version_mismatch(requirement: str, number: str, remedy: str, source: str) -> Finding:
    return Finding("version pair", "red", f"{requirement}, here is {number}", remedy, source)


def _release_number(number: str) -> str:
    """Its first three numbers; empty for a checkout's version, which fits by commit instead."""
    match = re.match(r"\d+\.\d+\.\d+", number)
    return "" if match is None or "dev" in number else match.group()


def _check_npu(devices: list[str], installed: Mapping[str, str], root: Path) -> list[Finding]:
    findings = [Finding("NPU", "green", f"{counted(len(devices), 'device')}: {', '.join(devices)}")]
    driver = driver_file(root)
    findings.append(
        Finding("NPU driver", "green", driver_version(root) or "of unknown version")
        if driver.is_file()
        else Finding(
            "NPU driver",
            "red",
            f"there are devices, but no {driver}",
            "In a container add -v /usr/local/Ascend/driver:/usr/local/Ascend/driver and "
            "--device /dev/davinci_manager; on the host install the driver.",
            _GUIDE,
        )
    )
    findings.append(_check_cann(root))
    missing_packages = [name for name in ("torch-npu", "vllm-ascend") if name not in installed]
    if missing_packages:
        findings.append(
            Finding(
                "NPU packages",
                "amber",
                f"{' and '.join(missing_packages)} not installed, so models do not run on the NPU "
                "here",
                "pip install 'qwen3-ascend-retrievers[ascend]', or use the official container.",
                _GUIDE,
            )
        )
    return findings


def _check_cann(root: Path) -> Finding:
    setting, folder = cann_setting(), cann_folder(root)
    if setting is not None:
        return Finding("CANN", "green", f"set up, at {setting}")
    if folder is None:
        remedy = "Install CANN in the version that vllm-ascend's release notes name."
        message = f"not found under {root / 'usr/local/Ascend'}"
        return Finding("CANN", "red", message, remedy, _GUIDE)
    remedy = f"source {folder.parent}/set_env.sh in this shell."
    return Finding("CANN", "red", f"installed at {folder}, but not set up", remedy, _GUIDE)


def _sort_key(number: str) -> tuple[int, ...]:
    """A release's sort key: a candidate sorts before its release, a post-release after."""
    parts = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?(?:rc(\d+))?", number)
    if parts is None:
        return (0,)
    major, minor, patch, candidate = parts.groups()
    last = 10_000 if candidate is None else int(candidate)
    return (int(major), int(minor), int(patch or 0), last)
