"""The server's command line, as values: nothing is started and nothing is looked up here.

vLLM's arguments by platform are the table of engines/vllm/tuning.py; here they become flags.
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
class ServerSettings:
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
        max_positions: the model's maximum; None if it is not known.
        guarded: whether clients must send a key, which the server reads from VLLM_API_KEY.
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
        guarded: whether VLLM_API_KEY must hold a key.
        key_file: the file with the key for VLLM_API_KEY; None if that is set already.
    """

    arguments: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    guarded: bool = False
    key_file: Path | None = None

    def shell(self) -> str:
        """A line for a shell; the key is read from its file when the line runs."""
        return " ".join([*self._variables(), "python", shlex.join(self.arguments)])

    def docker(self, settings: ServerSettings) -> str:
        """The same in the official container of vLLM-Ascend, for NPUs only."""
        image = f"{_IMAGE}:v{settings.ascend or '0.23.0'}{_SUFFIX[settings.hardware]}"
        count = settings.data_parallel * settings.tensor_parallel
        devices = (*(f"/dev/davinci{at}" for at in range(count)), *_DEVICES)
        words = ["docker", "run", "--rm", "--shm-size=1g", "-p", _published(settings)]
        for device in devices:
            words += ["--device", device]
        mounts = [f"{path}:{path}" for path in _MOUNTS]
        arguments = list(self.arguments)
        if str(TEMPLATE) in arguments:
            inside = f"/{TEMPLATE.name}"
            mounts.append(f"{TEMPLATE}:{inside}:ro")
            arguments[arguments.index(str(TEMPLATE))] = inside
        if Path(settings.model).is_dir():
            mounts.append(f"{Path(settings.model).resolve()}:/model:ro")
            arguments[arguments.index(settings.model)] = "/model"
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
        variables = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        if self.key_file is None:
            return variables
        return [f'{KEY_VARIABLE}="$(cat {shlex.quote(str(self.key_file))})"', *variables]


def server_command(settings: ServerSettings) -> ServerCommand:
    """The command for these settings.

    Raises:
        EngineError: they would give wrong scores on that hardware.
    """
    engine_arguments, environment = _engine_arguments(settings)
    flags = [*MODULE, "--model", settings.model, "--served-model-name", settings.name]
    flags += ["--host", settings.host, "--port", str(settings.port)]
    release = settings.version.release if settings.version else None
    pooling = release is None or release >= _RUNNER_SINCE
    flags += ["--runner", "pooling"] if pooling else ["--task", "score"]
    if settings.kind == "original":
        flags += ["--hf-overrides", json.dumps(ORIGINAL)]
    if release is None or release >= _TEMPLATES_SINCE:
        flags += ["--chat-template", str(TEMPLATE)]
    for name, count in (
        ("--data-parallel-size", settings.data_parallel),
        ("--tensor-parallel-size", settings.tensor_parallel),
    ):
        flags += [name, str(count)] if count > 1 else []
    for name, value in engine_arguments.items():
        if name not in _NOT_SERVED:
            flags += _flag(name, value)
    flags += ["--middleware", GUARD] if settings.guarded else []
    return ServerCommand(
        (*flags, *settings.extra), environment, settings.guarded, settings.key_file
    )


def _engine_arguments(settings: ServerSettings) -> tuple[dict[str, Any], dict[str, str]]:
    """The engine arguments and environment variables for the hardware."""
    facts = PlatformFacts(
        device=settings.hardware if settings.hardware in ("cuda", "cpu") else "npu",
        ascend=settings.ascend,
        chip="310P" if settings.hardware == "310p" else None,
        # vLLM's warm-up on a CPU is the compiling of graphs; -- --no-enforce-eager asks for it.
        enforce_eager=True if settings.hardware == "cpu" else None,
        max_length=settings.max_length,
    )
    arguments, environment = decide(facts)
    if settings.max_positions is not None:
        arguments["max_model_len"] = min(arguments["max_model_len"], settings.max_positions)
    return arguments, environment


def _flag(name: str, value: Any) -> Iterator[str]:
    """An engine argument as vLLM's command line takes it."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        yield f"--{flag}" if value else f"--no-{flag}"
        return
    yield f"--{flag}"
    yield json.dumps(value) if isinstance(value, dict) else str(value)


def _published(settings: ServerSettings) -> str:
    """The value of docker's -p that publishes the container at the server's address."""
    try:
        host = ip_address(settings.host)
    except ValueError:
        return f"{settings.port}:{settings.port}"
    address = f"[{host}]" if host.version == 6 else str(host)
    return f"{address}:{settings.port}:{settings.port}"


def reachable(host: str, port: int) -> str:
    """The address at which a server that listens on `host` is reached from this machine."""
    here = host in ("0.0.0.0", "::", "")  # noqa: S104 - compared, not listened on
    name = "127.0.0.1" if here else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}"
