"""Which engine a model name or a server's address means, and why. Nothing is loaded or called.

Engines come from `engines.base.ENGINE_CLASSES` by their tag, imported when chosen. To let
another engine run models in-process, add its line to `_IN_PROCESS`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, cast

from .._util.locks import Lock
from ..errors import MissingDependencyError
from ..models.files import TINY
from ..settings import DEFAULT_MODEL
from .base import Engine, engine_from_config

if TYPE_CHECKING:
    from pydantic import SecretStr

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _InProcess:
    """An engine that loads a model here.

    Attributes:
        tag: its key in ENGINE_CLASSES.
        modules: what must be installed.
        install: the line that installs it.
    """

    tag: str
    modules: tuple[str, ...]
    install: str

    def is_installed(self) -> bool:
        specs = [find_spec(module) for module in self.modules]
        # Any folder of that name on the path is a namespace package, which has no origin.
        return all(spec is not None and spec.origin is not None for spec in specs)


_LOCAL: Final = _InProcess(
    "local", ("torch", "transformers"), "pip install 'qwen3-ascend-retrievers[local]'"
)
_VLLM: Final = _InProcess("vllm", ("vllm",), "pip install 'qwen3-ascend-retrievers[vllm]'")
# The first whose modules are installed is taken. On an NPU or GPU that it cannot use, the chosen
# engine raises with the install line when it loads; none of them falls back to the CPU.
_IN_PROCESS: Final = (_VLLM, _LOCAL)

_said: set[str] = set()
_saying = Lock()


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
        return _made("remote", "base_url is set", base_url=base_url, model=model, api_key=api_key)
    name = model or DEFAULT_MODEL
    candidates = (_LOCAL,) if name == TINY else _IN_PROCESS
    chosen = next((one for one in candidates if one.is_installed()), None)
    if chosen is None:
        lines = " or ".join(one.install for one in candidates)
        raise MissingDependencyError(
            f"Nothing that could run {name} in this process is installed: {lines}. "
            "Or pass base_url=... to use a server."
        )
    installed = " and ".join(chosen.modules)
    reason = f"no base_url is set, and {installed} can be imported"
    wishes = {"max_length": max_length, "dtype": dtype}
    given = {key: value for key, value in wishes.items() if value is not None}
    return _made(chosen.tag, reason, model=name, **given)


def _made(tag: str, reason: str, **arguments: Any) -> Engine:
    engine = engine_from_config({"engine": tag, **arguments})
    said = f"{engine!r} was chosen: {reason}."
    with _saying:
        fresh = said not in _said
        _said.add(said)
    if fresh:
        logger.info("%s", said)
    return cast(Engine, engine)
