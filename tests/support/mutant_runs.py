"""Which tests of a conformance suite fail on the faulty adapters of a file beside this one."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree


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
