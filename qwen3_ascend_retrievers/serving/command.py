"""The server's command line, as values: nothing is started and nothing is looked up here.

What vLLM gets where, and why, is the table of engines/vllm/settings.py; here it becomes flags.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Literal

from ..engines.vllm.compat import ORIGINAL
from ..engines.vllm.platform_facts import PlatformFacts
from ..engines.vllm.tuning import decide
from ..engines.vllm.version import Version
from ..models.checkpoint import CheckpointKind
from . import key_guard
from .key_guard import KEY_VARIABLE, KeyGuard

Hardware = Literal["a2", "a3", "310p", "cuda", "cpu"]

TEMPLATE: Final = Path(__file__).parent / "qwen3_reranker.jinja"
MODULE: Final = ("-m", "vllm.entrypoints.openai.api_server")
# --middleware takes a class by its import path in every release from 0.9.2 on.
GUARD: Final = f"{key_guard.__name__}.{KeyGuard.__name__}"
_GUARD_FILE: Final = Path(key_guard.__file__)
# Python looks for modules in the working directory first; the image's PYTHONPATH must stay.
_GUARD_FOLDER: Final = "/guard"
# vLLM applies --chat-template to /v1/rerank since this release (seen from 0.18 to 0.32).
_TEMPLATES_SINCE: Final = (0, 18, 0)
# --task was renamed --runner in this release.
_RUNNER_SINCE: Final = (0, 11, 0)
# For the engine inside a library, not for a server: /metrics needs the statistics.
_NOT_SERVED: Final = ("disable_log_stats", "use_tqdm_on_load")
_IMAGE: Final = "quay.io/ascend/vllm-ascend"
_SUFFIX: Final = {"a2": "", "a3": "-a3", "310p": "-310p"}
# What vLLM-Ascend's installation guide mounts.
_DEVICES: Final = ("/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc")
_MOUNTS: Final = (
    "/usr/local/dcmi",
    "/usr/local/bin/npu-smi",
    "/usr/local/Ascend/driver/lib64",
    "/usr/local/Ascend/driver/version.info",
    "/etc/ascend_install.info",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be served, and how.

    Attributes:
        model: a folder or hub name, for vLLM.
        name: what clients call it.
        kind: whether the overrides are needed.
        hardware: what it runs on.
        version: vLLM's; None takes the newest flags.
        ascend: vllm-ascend's, on an NPU.
        host: the address to listen on.
        port: the port to listen on.
        data_parallel: replicas.
        tensor_parallel: devices of each replica.
        max_length: tokens of a prompt; None takes the table's.
        max_positions: the most that the model can; None if nobody looked.
        guarded: whether clients must send a key, which the server finds in VLLM_API_KEY.
        key_file: the file with that key; None if the variable is set already.
        extra: further arguments for vLLM, which win.
    """

    model: str
    name: str
    kind: CheckpointKind
    hardware: Hardware
    version: Version | None = None
    ascend: Version | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    data_parallel: int = 1
    tensor_parallel: int = 1
    max_length: int | None = None
    max_positions: int | None = None
    guarded: bool = False
    key_file: Path | None = None
    extra: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """How the server is started.

    Attributes:
        arguments: of Python, from -m on.
        environment: variables to set where the caller has not set them; the key is not among them.
        guarded: whether the key is wanted in VLLM_API_KEY.
        key_file: where the key is, which goes into VLLM_API_KEY; None if it is there already.
    """

    arguments: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    guarded: bool = False
    key_file: Path | None = None

    def shell(self) -> str:
        """A line for a shell; the key is read from its file when the line runs."""
        return " ".join([*self._variables(), "python", shlex.join(self.arguments)])

    def docker(self, wanted: Wanted) -> str:
        """The same in the official container of vLLM-Ascend, for NPUs only."""
        image = f"{_IMAGE}:v{wanted.ascend or '0.23.0'}{_SUFFIX[wanted.hardware]}"
        count = wanted.data_parallel * wanted.tensor_parallel
        devices = (*(f"/dev/davinci{at}" for at in range(count)), *_DEVICES)
        words = ["docker", "run", "--rm", "--shm-size=1g", "-p", _published(wanted)]
        for device in devices:
            words += ["--device", device]
        mounts = [f"{one}:{one}" for one in _MOUNTS]
        arguments = list(self.arguments)
        if str(TEMPLATE) in arguments:
            inside = f"/{TEMPLATE.name}"
            mounts.append(f"{TEMPLATE}:{inside}:ro")
            arguments[arguments.index(str(TEMPLATE))] = inside
        if Path(wanted.model).is_dir():
            mounts.append(f"{Path(wanted.model).resolve()}:/model:ro")
            arguments[arguments.index(wanted.model)] = "/model"
        if self.guarded:
            module = f"{_GUARD_FILE.stem}.{KeyGuard.__name__}"
            mounts.append(f"{_GUARD_FILE}:{_GUARD_FOLDER}/{_GUARD_FILE.name}:ro")
            words += ["-w", _GUARD_FOLDER]
            arguments[arguments.index(GUARD)] = module
        arguments[arguments.index("--host") + 1] = "0.0.0.0"  # noqa: S104 - in the container
        for mount in mounts:
            words += ["-v", mount]
        for name, value in self.environment.items():
            words += ["-e", f"{name}={value}"]
        key = self._variables()[: self.key_file is not None]
        words += ["-e", KEY_VARIABLE] if self.guarded else []
        return " ".join([*key, shlex.join([*words, image, "python", *arguments])])

    def _variables(self) -> list[str]:
        made = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        if self.key_file is None:
            return made
        return [f'{KEY_VARIABLE}="$(cat {shlex.quote(str(self.key_file))})"', *made]


def server_command(wanted: Wanted) -> ServerCommand:
    """The command for what is wanted.

    Raises:
        EngineError: what is wanted gives wrong scores there.
    """
    device = wanted.hardware if wanted.hardware in ("cuda", "cpu") else "npu"
    situation = PlatformFacts(
        device=device,
        ascend=wanted.ascend,
        chip="310P" if wanted.hardware == "310p" else None,
        max_length=wanted.max_length,
    )
    settings, environment = decide(situation)
    if wanted.max_positions is not None:
        settings["max_model_len"] = min(settings["max_model_len"], wanted.max_positions)
    flags = [*MODULE, "--model", wanted.model, "--served-model-name", wanted.name]
    flags += ["--host", wanted.host, "--port", str(wanted.port)]
    release = wanted.version.release if wanted.version else None
    pooling = release is None or release >= _RUNNER_SINCE
    flags += ["--runner", "pooling"] if pooling else ["--task", "score"]
    if wanted.kind == "original":
        flags += ["--hf-overrides", json.dumps(ORIGINAL)]
    if release is None or release >= _TEMPLATES_SINCE:
        flags += ["--chat-template", str(TEMPLATE)]
    for name, count in (
        ("--data-parallel-size", wanted.data_parallel),
        ("--tensor-parallel-size", wanted.tensor_parallel),
    ):
        flags += [name, str(count)] if count > 1 else []
    for name, value in settings.items():
        if name not in _NOT_SERVED:
            flags += _flag(name, value)
    flags += ["--middleware", GUARD] if wanted.guarded else []
    return ServerCommand((*flags, *wanted.extra), environment, wanted.guarded, wanted.key_file)


def _flag(name: str, value: Any) -> Iterator[str]:
    """An engine argument as vLLM's command line takes it."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        yield f"--{flag}" if value else f"--no-{flag}"
        return
    yield f"--{flag}"
    yield json.dumps(value) if isinstance(value, dict) else str(value)


def _published(wanted: Wanted) -> str:
    """What docker's -p takes, so that the container is reached where the server would be."""
    try:
        host = ip_address(wanted.host)
    except ValueError:
        return f"{wanted.port}:{wanted.port}"
    shown = f"[{host}]" if host.version == 6 else str(host)
    return f"{shown}:{wanted.port}:{wanted.port}"


def reachable(host: str, port: int) -> str:
    """The address at which a server that listens on `host` is reached from this machine."""
    here = host in ("0.0.0.0", "::", "")  # noqa: S104 - compared, not listened on
    name = "127.0.0.1" if here else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}"
