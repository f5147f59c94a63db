"""`make bench`: run what has no record yet, then write the pages.

    PYTHONPATH=tests python -m benchmarks [--again] [--only NAME]

Each workload runs in a process of its own and leaves its record in build/bench. A record is taken
as it is while code, versions, machine and scale are the same.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence

from benchmarks import report
from benchmarks.records import ROOT, Records
from benchmarks.scale import FULL
from benchmarks.workloads import WORKLOADS, Workload

FOLDER = ROOT / "build" / "bench"
# Traffic leaves the machine for no contender; proxies would be between some and the server.
_QUIET = {
    "HAYSTACK_TELEMETRY_ENABLED": "False", "NVIDIA_USAGE_TELEMETRY_ENABLED": "false",
    "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "QWEN3_RERANK_ALLOW_TINY": "1",
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the workloads, one after another. Returns the exit status: 1 if one failed."""
    names = [workload.name for workload in WORKLOADS]
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--again", action="store_true", help="run what has a record, too")
    parser.add_argument("--only", choices=names, help="run this workload only")
    parser.add_argument("--here", choices=names, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    records = Records(FOLDER, FULL)
    if options.here:
        records.measure(next(each for each in WORKLOADS if each.name == options.here))
        return 0
    selected = [each for each in WORKLOADS if options.only in (None, each.name)]
    failed = [each.name for each in selected if not _ready(records, each, again=options.again)]
    found = {each.name: record for each in WORKLOADS if (record := records.read(each))}
    if found:
        report.write(found, ROOT / "docs")
        print(f"docs/benchmarks.md shows: {', '.join(found)}")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return int(bool(failed))


def _ready(records: Records, workload: Workload, *, again: bool) -> bool:
    """Whether a workload has its record, after it ran if it had to."""
    if not again and records.read(workload) is not None:
        print(f"{workload.name}: has a record", flush=True)
        return True
    print(f"{workload.name}: running", flush=True)
    environment = {name: value for name, value in os.environ.items() if not _is_proxy(name)}
    command = [sys.executable, "-m", "benchmarks", "--here", workload.name]
    return subprocess.run(command, env=environment | _QUIET, check=False).returncode == 0


def _is_proxy(name: str) -> bool:
    return name.upper().endswith("_PROXY")


if __name__ == "__main__":
    sys.exit(main())
