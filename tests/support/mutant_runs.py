"""Which tests of a conformance suite fail on the faulty adapters of a file beside this one."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree


def suites(conformance: type, sound: type, mutants: Sequence[type]) -> dict[str, type]:
    """One test class for the sound adapter and one for each mutant, by name, for pytest."""

    def suite(adapter: Any, name: str) -> type:
        def make(_: object, engine: Any, **fields: Any) -> Any:
            return adapter(engine=engine, **fields)

        return type(f"Test{name}", (conformance,), {"make": make})

    named = {"Sound": sound} | {mutant.__name__: mutant for mutant in mutants}
    return {f"Test{name}": suite(adapter, name) for name, adapter in named.items()}


def failed_tests(file: str, folder: Path) -> dict[str, set[str]]:
    """Test class -> the tests that failed, from one run of pytest over the mutants."""
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", str(Path(__file__).with_name(file))]
    subprocess.run([*command, f"--junitxml={report}"], capture_output=True, timeout=300)
    failures: dict[str, set[str]] = defaultdict(set)
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.attrib["classname"].rpartition(".Test")[2]
        failures[name] |= {case.attrib["name"]} if case.find("failure") is not None else set()
    return failures
