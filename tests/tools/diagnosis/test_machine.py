"""What a proof says of the machine, from files and from npu-smi."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwen3_ascend_retrievers.tools.diagnosis.machine import machine_facts

# In the form of vLLM-Ascend's installation guide.
TABLE = """\
+-------------------------------------------------------------------------------------------+
| npu-smi 23.0.2                   Version: 23.0.2                                          |
+----------------------+---------------+----------------------------------------------------+
| NPU   Name           | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                 | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+======================+===============+====================================================+
| 0     910B3          | OK            | 0.0         40                0    / 0             |
| 0                    | 0000:C1:00.0  | 0           882  / 15169      0    / 32768         |
+======================+===============+====================================================+
| 1     910B3          | Warning       | 0.0         40                0    / 0             |
| 0                    | 0000:C2:00.0  | 0           882  / 15169      0    / 32768         |
+----------------------+---------------+----------------------------------------------------+
| NPU     Chip         | Process id    | Process name             | Process memory(MB)      |
| 0       0            | 4711          | python                   | 100                     |
"""


@pytest.fixture
def npu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a machine with two NPUs, and its npu-smi."""
    for name in ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME"):
        monkeypatch.delenv(name, raising=False)
    files = {
        "dev/davinci0": "",
        "dev/davinci1": "",
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: Kunpeng 920\n",
        "usr/local/Ascend/driver/version.info": "Version=25.2.0\n",
        "usr/local/Ascend/ascend-toolkit/latest/aarch64-linux/ascend_toolkit_install.info": (
            "package_name=Ascend-cann-toolkit\nversion=8.5.1\ninnerversion=V100\n"
        ),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    program(tmp_path / "bin", f"cat <<'END'\n{TABLE}END")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    return tmp_path


def program(folder: Path, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "npu-smi").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npu-smi").chmod(0o755)


def test_an_npu_is_named_with_its_chips_driver_and_cann(npu: Path) -> None:
    facts = machine_facts(npu)
    assert facts["NPU"] == "davinci0, davinci1"
    assert facts["NPU chips"] == "910B3, 910B3"
    assert facts["NPU driver"] == "25.2.0"
    assert facts["CANN"] == "8.5.1"
    assert facts["processor"] == "Kunpeng 920"
    assert "GPU" not in facts


@pytest.mark.parametrize("script", ["exit 1", "echo unknown"])
def test_an_npu_smi_that_fails_says_nothing(npu: Path, script: str) -> None:
    program(npu / "bin", script)
    assert "NPU chips" not in machine_facts(npu)


def test_cann_is_where_its_own_variable_says(npu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = npu / "opt/cann/x86_64-linux"
    folder.mkdir(parents=True)
    (folder / "ascend_toolkit_install.info").write_text("version=9.1.0\n")
    monkeypatch.setenv("ASCEND_HOME_PATH", str(folder.parent))
    assert machine_facts(npu)["CANN"] == "9.1.0"


def test_a_gpu_is_named_by_its_driver(tmp_path: Path) -> None:
    file = tmp_path / "proc/driver/nvidia/gpus/0000:01:00.0/information"
    file.parent.mkdir(parents=True)
    file.write_text("Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 1\n")
    facts = machine_facts(tmp_path)
    assert facts["GPU"] == "NVIDIA H100 80GB HBM3"
    assert {"NPU", "CANN"}.isdisjoint(facts)
