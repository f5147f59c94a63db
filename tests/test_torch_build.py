"""Which torch `make demo` lets pip take, asked of real package indexes on this machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from support.torch_build import (
    CPU_INDEX,
    REQUIREMENTS,
    names_an_index,
    pinned_version,
    pip_arguments,
)

VERSION = "2.13.0"


class Index:
    """A package index with stub wheels of torch, and the paths it was asked for."""

    def __init__(self, folder: Path, *versions: str) -> None:
        page = folder / "torch"
        page.mkdir(parents=True)
        for version in versions:
            _write_wheel(page / f"torch-{version}-py3-none-any.whl", version)
        self.paths: list[str] = []
        handler = type("Handler", (_Handler,), {"folder": str(folder), "paths": self.paths})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(SimpleHTTPRequestHandler):
    folder: str
    paths: list[str]

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments, directory=self.folder)  # type: ignore[arg-type]

    def log_message(self, *_: object) -> None:
        self.paths.append(self.path)


def _write_wheel(path: Path, version: str) -> None:
    info = f"torch-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def cpu_index(tmp_path: Path) -> Iterator[Index]:
    index = Index(tmp_path / "cpu", "2.12.0+cpu", f"{VERSION}+cpu")
    yield index
    index.close()


@pytest.fixture
def plain_index(tmp_path: Path) -> Iterator[Index]:
    """What PyPI has: builds without a word of what they need."""
    index = Index(tmp_path / "plain", "2.12.0", VERSION)
    yield index
    index.close()


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who set nothing for pip."""
    for name in list(os.environ):
        if name.startswith("PIP_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    # The one value that keeps pip from every file, the machine's own included.
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


def test_without_an_index_of_the_user_s_the_cpu_build_is_taken(
    cpu_index: Index, plain_index: Index, tmp_path: Path
) -> None:
    arguments, line = pip_arguments(VERSION, cpu_index.url)
    assert arguments == ["--extra-index-url", cpu_index.url]
    assert line == f"torch {VERSION}: the CPU build, 0.2 GB, from {cpu_index.url}."
    # PyPI's place is held by the other index, which has the same version.
    assert _would_take(plain_index, tmp_path, *arguments) == f"{VERSION}+cpu"
    assert _would_take(plain_index, tmp_path) == VERSION


@pytest.mark.parametrize("variable", ["PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"])
def test_an_index_of_the_user_s_is_not_gone_behind(
    variable: str, cpu_index: Index, plain_index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both, so that nothing is asked of a package index outside this machine.
    monkeypatch.setenv("PIP_INDEX_URL", plain_index.url)
    monkeypatch.setenv(variable, plain_index.url)
    arguments, line = pip_arguments(VERSION, cpu_index.url)
    assert arguments == []
    assert cpu_index.paths == []
    assert "may take the one with CUDA, 2.7 GB" in line
    assert f"PIP_EXTRA_INDEX_URL={cpu_index.url} make demo" in line
    assert "\n" not in line


def test_an_index_of_the_user_s_may_have_the_cpu_build(
    cpu_index: Index, plain_index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", plain_index.url)
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", cpu_index.url)
    arguments, line = pip_arguments(VERSION, "http://127.0.0.1:9")
    assert arguments == []
    assert line == f"torch {VERSION}: the CPU build, 0.2 GB, from your package index."


def test_an_index_without_the_pinned_build_is_not_added(cpu_index: Index) -> None:
    arguments, line = pip_arguments("2.11.0", cpu_index.url)
    assert arguments == []
    assert f"no CPU build found at {cpu_index.url}" in line
    assert "PIP_EXTRA_INDEX_URL=MIRROR make demo" in line


def test_a_cpu_index_that_does_not_answer_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        arguments, line = pip_arguments(VERSION, url)
        # Ten seconds for the question, and more for pip to start twice on a loaded machine.
        assert time.monotonic() - started < 30
    assert arguments == []
    assert "may take the one with CUDA" in line


@pytest.mark.parametrize("option", ["index-url", "extra-index-url"])
def test_an_index_in_pip_s_configuration_is_the_user_s(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = tmp_path / "pip.conf"
    configuration.write_text(f"[global]\n{option} = http://127.0.0.1:9/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(configuration))
    printed = _pip("config", "list")
    (line,) = [line for line in printed.splitlines() if "127.0.0.1:9" in line]
    assert names_an_index(line)


def test_other_settings_of_pip_s_are_no_index() -> None:
    assert not names_an_index("global.timeout='5'\n:env:.find-links='index-url='\n")
    assert not names_an_index("")


def test_an_installed_torch_is_neither_asked_for_nor_spoken_of() -> None:
    script = Path(REQUIREMENTS).parent / "tests" / "support" / "torch_build.py"
    process = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True
    )
    assert (process.stdout, process.stderr) == ("", "")


def test_one_pin_for_every_python() -> None:
    requirements = REQUIREMENTS.read_text("utf-8")
    assert pinned_version(requirements) == VERSION
    assert [line for line in requirements.splitlines() if line.startswith("torch")] == [
        f'torch=={VERSION}; platform_system == "Linux"'
    ]
    assert CPU_INDEX in (REQUIREMENTS.parent / "README.md").read_text("utf-8")


def _would_take(index: Index, folder: Path, *arguments: str) -> str:
    """The version of torch that pip would install from `index` with these arguments."""
    report = folder / "report.json"
    options = ("--dry-run", "--ignore-installed", "--no-deps", "--index-url", index.url)
    _pip("install", *options, "--report", str(report), *arguments, f"torch=={VERSION}")
    (torch,) = json.loads(report.read_text("utf-8"))["install"]
    return str(torch["metadata"]["version"])


def _pip(*arguments: str) -> str:
    command = [sys.executable, "-m", "pip", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
