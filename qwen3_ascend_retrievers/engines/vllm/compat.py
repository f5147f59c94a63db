"""The one place that knows how vLLM 0.9.2 to 0.32 differ: by feature, not by number.

Read in 0.9.2, 0.11.2, 0.13.0, 0.18.0, 0.23.0 and 0.32.0. Nothing else here touches vllm's names.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from ...errors import EngineError, InvalidInputError, MissingDependencyError
from .arguments import check_types
from .version import Version, parse_version

logger = logging.getLogger(__name__)

OLDEST: Final = (0, 9, 2)
NEWEST: Final = (0, 32)
_SUPPORTED: Final = " to ".join(".".join(map(str, release)) for release in (OLDEST, NEWEST))
INSTALL: Final = (
    "pip install 'qwen3-ascend-retrievers[vllm]', or on an Ascend NPU "
    "VLLM_TARGET_DEVICE=empty pip install --no-binary vllm 'qwen3-ascend-retrievers[ascend]'"
)
# What LLM.score looks for in an original checkpoint; a converted one needs none of it.
ORIGINAL: Final = {
    "architectures": ["Qwen3ForSequenceClassification"],
    "classifier_from_token": ["no", "yes"],
    "is_original_qwen3_reranker": True,
}


@dataclass(frozen=True, slots=True)
class PromptOutput:
    """vLLM's answer to one prompt.

    Attributes:
        value: a logit, or P(yes) where `Vllm.gives_logits` is False.
        cached: tokens of the prompt that came from the prefix cache; None if unknown.
    """

    value: float
    cached: int | None


class Vllm:
    """The installed vLLM.

    Args:
        version: its `__version__`; None for a checkout without one.

    Raises:
        EngineError: something that all supported versions have is missing.
    """

    def __init__(self, version: Version | None) -> None:
        self.version = version
        try:
            self._package = import_module("vllm")
            self._inputs = import_module("vllm.inputs")
            self._engine_class = import_module("vllm.v1.engine.async_llm").AsyncLLM
            self._arguments_class = import_module("vllm.engine.arg_utils").AsyncEngineArgs
            self._dead_error = import_module("vllm.v1.engine.exceptions").EngineDeadError
            self._params = inspect.signature(self._package.PoolingParams).parameters
            self._fields = inspect.signature(self._arguments_class).parameters
        except (ImportError, AttributeError) as error:
            raise EngineError(
                f"vLLM {version} lacks what this package uses of it ({error}). It was made for "
                f"vLLM {_SUPPORTED}: {INSTALL}"
            ) from error

    @property
    def gives_logits(self) -> bool:
        """Whether outputs are logits; 0.9.2 always applies the sigmoid."""
        return "use_activation" in self._params

    def device(self) -> str:
        """The device that vLLM runs on, such as "npu", "cuda" or "cpu".

        Raises:
            EngineError: its plugin for the device does not start.
        """
        try:
            return str(import_module("vllm.platforms").current_platform.device_type)
        # A plugin imports torch_npu, which loads CANN's libraries, and they fail in many ways.
        except Exception as error:
            raise _broken(error) from error

    def arguments(self, defaults: Mapping[str, Any], extra: Mapping[str, Any]) -> Any:
        """AsyncEngineArgs for a reranker.

        Args:
            defaults: this package's arguments.
            extra: the caller's, which win.

        Raises:
            InvalidInputError: this vLLM does not know an argument of `extra`, or its value.
        """
        unknown = sorted(name for name in extra if name not in self._fields)
        if unknown:
            raise InvalidInputError(
                f"vLLM {self.version} has no engine argument {unknown[0]!r}; see vllm_args."
            )
        check_types(self._arguments_class, extra)
        selector = {"runner": "pooling"} if "runner" in self._fields else {"task": "score"}
        if "disable_log_requests" in self._fields:
            selector["disable_log_requests"] = True  # type: ignore[assignment]
        try:
            return self._arguments_class(**selector, **{**defaults, **extra})
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"vLLM {self.version} refuses vllm_args: {error}") from error

    def start(self, arguments: Any) -> Any:
        """The async engine; starts its processes and loads the model, which blocks."""
        return self._engine_class.from_engine_args(arguments)

    def stop(self, engine: Any) -> None:
        """End the engine; its processes may take longer."""
        engine.shutdown()

    async def tasks(self, engine: Any) -> Sequence[str] | None:
        """The loaded model's tasks; None where vLLM does not list them (0.9.2)."""
        supported = getattr(engine, "get_supported_tasks", None)
        return None if supported is None else list(await supported())

    def is_dead(self, engine: Any) -> bool:
        """Whether the engine's processes ended without being asked to."""
        return bool(engine.errored)

    def is_dead_error(self, error: BaseException) -> bool:
        """Whether an error means that the engine's processes ended."""
        return isinstance(error, self._dead_error)

    def lora(self, folder: str) -> Any:
        """An adapter, to be named in each request."""
        path = str(Path(folder).expanduser())
        return import_module("vllm.lora.request").LoRARequest("adapter", 1, path)

    async def score_prompt(
        self,
        engine: Any,
        ids: Sequence[int],
        name: str,
        *,
        lora: Any = None,
        salt: str | None = None,
    ) -> PromptOutput:
        """Score one prompt; cancelling this aborts the request.

        Args:
            engine: from `start`.
            ids: the prompt.
            name: of the request, never used before.
            lora: from `lora`, or None.
            salt: prompts of different salts share nothing in the prefix cache.

        Raises:
            EngineError: vLLM reports a failure of this request only.
        """
        adapter = {} if lora is None else {"lora_request": lora}
        last = None
        async for output in engine.encode(
            self._prompt(list(ids), salt), self._pooling(), request_id=name, **adapter
        ):
            last = output
        # 0.32 reports a failed request as score 0.0 with `error` set.
        failure = getattr(last, "error", None)
        if last is None or failure is not None:
            raise EngineError(f"vLLM could not score a prompt of {len(ids)} tokens: {failure}")
        return _prompt_output(last)

    def _pooling(self) -> Any:
        if not self.gives_logits:
            return self._package.PoolingParams(use_cross_encoder=True)
        return self._package.PoolingParams(task="classify", use_activation=False)

    def _prompt(self, ids: list[int], salt: str | None) -> Any:
        # Since 0.23; older ones, whose `token_inputs` differs, take the plain dict.
        tokens_input = getattr(self._inputs, "tokens_input", None)
        if tokens_input is not None:
            return tokens_input(ids, cache_salt=salt)
        return {"prompt_token_ids": ids, **({} if salt is None else {"cache_salt": salt})}


def _prompt_output(output: Any) -> PromptOutput:
    values = output.outputs.data.float().reshape(-1).tolist()
    if len(values) != 1:
        raise EngineError(
            f"vLLM answered {len(values)} numbers for a prompt, so it does not run this model as "
            "a reranker. Check vllm_args, and plugins that register models."
        )
    return PromptOutput(values[0], getattr(output, "num_cached_tokens", None))


def installed_vllm() -> Vllm:
    """The installed vLLM, imported.

    Raises:
        MissingDependencyError: it is not installed, too old, or too new.
        EngineError: it cannot be imported.
    """
    try:
        # Not its metadata: the CPU build has none under the name vllm.
        text = str(import_module("vllm").__version__)
    except ModuleNotFoundError as error:
        if error.name != "vllm":
            raise _broken(error) from error
        raise MissingDependencyError(f"VLLMEngine needs vllm: {INSTALL}") from error
    except Exception as error:
        raise _broken(error) from error
    version = parse_version(text)
    if version is None:
        logger.warning("vLLM calls itself %r; VLLMEngine needs %s.", text, _SUPPORTED)
    elif version.release < OLDEST or version.release[:2] > NEWEST:
        raise MissingDependencyError(
            f"VLLMEngine needs vLLM {_SUPPORTED}, not {text}: {INSTALL}. For a newer one, upgrade "
            "this package: pip install --upgrade qwen3-ascend-retrievers"
        )
    return Vllm(version)


def _broken(error: Exception) -> EngineError:
    return EngineError(
        f"vLLM is installed and cannot be used: {error}. Its torch may be another one than "
        "it was built for; on an NPU, source CANN's set_env.sh."
    )
