"""What doctor says of machines that are set up well, badly or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwen3_ascend_retrievers.tools.diagnosis import Finding, check_environment, versions, worst
from qwen3_ascend_retrievers.tools.diagnosis.findings import exit_code

GOOD = {"vllm-ascend": "0.18.0", "torch-npu": "2.9.0", "vllm": "0.18.0"}


@pytest.fixture
def npu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a machine with two NPUs, its driver and CANN."""
    monkeypatch.delenv("ASCEND_HOME_PATH", raising=False)
    monkeypatch.delenv("ASCEND_TOOLKIT_HOME", raising=False)
    for name in ("dev/davinci0", "dev/davinci1", "dev/davinci_manager"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    driver = tmp_path / "usr/local/Ascend/driver"
    driver.mkdir(parents=True)
    (driver / "version.info").write_text("Version=25.2.0\n")
    (tmp_path / "usr/local/Ascend/ascend-toolkit/latest").mkdir(parents=True)
    return tmp_path


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_a_machine_without_npu_is_well(tmp_path: Path) -> None:
    findings = check_environment({}, tmp_path)
    assert worst(findings) == "green"
    assert by_name(findings)["NPU"].message == "none on this machine"
    assert exit_code(findings) == 0


def test_installed_packages_are_found() -> None:
    assert {"qwen3-ascend-retrievers", "torch", "httpx"} <= versions().keys()


def test_an_npu_needs_its_driver_cann_and_packages(
    npu: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = by_name(check_environment(GOOD, npu))
    assert findings["NPU"].message == "2 devices: davinci0, davinci1"
    assert findings["NPU driver"].message == "25.2.0"
    assert findings["CANN"].colour == "red"
    assert "ascend-toolkit/set_env.sh" in str(findings["CANN"].remedy)
    monkeypatch.setenv("ASCEND_HOME_PATH", "/opt/cann")
    assert worst(check_environment(GOOD, npu)) == "green"
    (npu / "usr/local/Ascend/driver/version.info").unlink()
    findings = by_name(check_environment({}, npu))
    assert findings["NPU driver"].colour == "red"
    assert "/dev/davinci_manager" in str(findings["NPU driver"].remedy)
    assert findings["NPU packages"].colour == "amber"


@pytest.mark.parametrize(
    ("installed", "colour"),
    [
        ({"vllm-ascend": "0.11.0"}, "green"),
        ({"vllm-ascend": "0.12.0rc1"}, "red"),
        ({"vllm-ascend": "0.13.0"}, "red"),
        ({"vllm-ascend": "0.17.0rc1"}, "red"),
        ({"vllm-ascend": "0.18.0rc1"}, "red"),
        ({"vllm-ascend": "0.18.0"}, "green"),
        ({"vllm-ascend": "0.23.0.post1"}, "green"),
        ({"vllm": "0.11.1rc4"}, "red"),
        ({"vllm": "0.11.1"}, "green"),
        ({"vllm": "dev"}, "green"),
        ({"vllm-ascend": "0.23.0.post1", "torch-npu": "2.10.0"}, "green"),
        ({"vllm-ascend": "0.23.0", "torch-npu": "2.9.0"}, "red"),
        ({"vllm-ascend": "0.18.0", "vllm": "0.32.0"}, "red"),
        ({"vllm-ascend": "0.18.0", "vllm": "0.18.1"}, "red"),
        ({"vllm-ascend": "0.18.0", "vllm": "0.18.0+empty"}, "green"),
        ({"vllm-ascend": "0.19.1rc1", "vllm": "0.19.1"}, "green"),
        ({"vllm-ascend": "0.23.0.post1", "vllm": "0.23.0"}, "green"),
        ({"vllm-ascend": "0.23.1.dev7+g1a2b3c4", "vllm": "0.24.0rc1.dev3+g5d6e7f8"}, "green"),
    ],
)
def test_known_bad_versions_are_red(installed: dict[str, str], colour: str, tmp_path: Path) -> None:
    findings = check_environment(installed, tmp_path)
    assert worst(findings) == colour
    assert all(finding.remedy and finding.source for finding in findings if finding.colour == "red")


def test_a_wrong_vllm_is_named_with_the_right_one(tmp_path: Path) -> None:
    findings = by_name(check_environment({"vllm-ascend": "0.18.0", "vllm": "0.32.0"}, tmp_path))
    assert findings["version pair"].message == (
        "vllm-ascend 0.18.0 is made for vllm 0.18.0, here is 0.32.0"
    )
    assert "vllm==0.18.0" in str(findings["version pair"].remedy)
    # The one release whose number is another; it is red for its prefix cache only.
    fits = check_environment({"vllm-ascend": "0.14.0rc1", "vllm": "0.14.1"}, tmp_path)
    assert [finding.name for finding in fits if finding.colour == "red"] == ["known-bad version"]
