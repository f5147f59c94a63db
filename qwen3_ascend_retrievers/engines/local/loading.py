"""Loading a checkpoint into a forward pass, with transformers' log and bars suppressed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from ..._util.locks import fork_safe_lock
from ...core.plan import Plan
from ...core.prompt import query_stem
from ...core.tokens import TokenIds, Tokenizer
from ...errors import MissingDependencyError, ModelError
from ...models.check import checked_tokenizer
from ...models.checkpoint import Checkpoint, check_unquantized, find_checkpoint
from ...models.files import TINY, read_json, warn_if_tiny
from ...models.tokenizer import answer_ids
from .batches import Batch
from .device import pick_device, pick_dtype
from .forward import ForwardPass
from .packing import PackedRow
from .prefixes import PrefixStore

# transformers changes torch's functions while it loads: two threads at once leave them changed, and
# weights of later models missing.
_loading: Final = fork_safe_lock()
_INSTALL: Final = (
    "LocalEngine needs torch and transformers: pip install 'qwen3-ascend-retrievers[local]'."
)


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A loaded checkpoint.

    Attributes:
        checkpoint: what was loaded.
        tokenizer: the checkpoint's own.
        forward: the model on its device.
        prefixes: keys and values of what prompts begin with.
    """

    checkpoint: Checkpoint
    tokenizer: Tokenizer
    forward: ForwardPass
    prefixes: PrefixStore

    def stems(self, plan: Plan) -> dict[str, TokenIds]:
        """Instruction -> tokens that all prompts with it begin with."""
        instructions = list(dict.fromkeys([query.instruction for query in plan.queries]))
        texts = [query_stem(instruction) for instruction in instructions]
        encodings = self.tokenizer.encode_batch(texts)
        return {
            instruction: tuple(encoding.ids)
            for instruction, encoding in zip(instructions, encodings, strict=True)
        }

    def logits(self, batch: Batch) -> list[float]:
        """logit("yes") - logit("no") of each passage.

        Raises:
            EngineError: torch failed, or memory ran out even for one prompt.
        """
        key_values = self.prefixes.of(batch.prefixes)
        return self.forward.logits(
            [
                PackedRow(ids, key_values[prefix])
                for ids, prefix in zip(batch.rows, batch.prefixes, strict=True)
            ]
        )


def load_local_model(model: str, revision: str | None, device: str, dtype: str) -> LocalModel:
    """Find, check and load a checkpoint.

    Raises:
        MissingDependencyError: torch, transformers or torch_npu is not installed.
        ModelError: the checkpoint, or the device, cannot be used.
    """
    if any(find_spec(name) is None for name in ("torch", "transformers")):
        raise MissingDependencyError(_INSTALL)
    warn_if_tiny(model)
    # Before torch is imported, which takes seconds.
    checkpoint = find_checkpoint(model, revision)
    check_unquantized(checkpoint, "LocalEngine")
    tokenizer = checked_tokenizer(checkpoint)
    transformers = _transformers()
    torch_device = pick_device(device)
    if model == TINY and dtype == "auto":
        # The documentation prints its scores, which should be the same on every machine.
        dtype = "float32"
    torch_dtype = pick_dtype(dtype, torch_device)
    with _loading:
        network = _load_weights(transformers, checkpoint, torch_dtype)
    network = network.to(torch_device).eval()
    direction = _direction(network, checkpoint, tokenizer)
    forward = ForwardPass(network.model, direction)
    return LocalModel(checkpoint, tokenizer, forward, PrefixStore(forward.key_values))


def _transformers() -> Any:
    try:
        return import_module("transformers")
    except ImportError as error:
        raise MissingDependencyError(f"{_INSTALL} It is there, and broken: {error}") from error


def _load_weights(transformers: Any, checkpoint: Checkpoint, dtype: Any) -> Any:
    original = checkpoint.kind == "original"
    name = "Qwen3ForCausalLM" if original else "Qwen3ForSequenceClassification"
    try:
        with _suppress_logs(transformers):
            network, info = getattr(transformers, name).from_pretrained(
                checkpoint.folder,
                local_files_only=True,
                use_safetensors=True,
                attn_implementation="sdpa",
                output_loading_info=True,
                **_version_dependent_arguments(transformers, checkpoint, dtype),
            )
    # transformers raises whatever the layer that failed raised: OSError, ValueError, torch's.
    except Exception as error:
        raise ModelError(
            f"{checkpoint.model} cannot be loaded from {checkpoint.folder}: {error}"
        ) from error
    if info["missing_keys"]:
        names = ", ".join(sorted(info["missing_keys"])[:3])
        raise ModelError(
            f"{checkpoint.model}: its files lack {names}, so part of the model would be "
            "random numbers. Fetch the model again."
        )
    return network


def _version_dependent_arguments(
    transformers: Any, checkpoint: Checkpoint, dtype: Any
) -> dict[str, Any]:
    """Arguments of from_pretrained that versions of transformers name differently."""
    version = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    arguments: dict[str, Any] = {"dtype" if version >= (4, 56) else "torch_dtype": dtype}
    config = read_json(checkpoint.model, checkpoint.folder / "config.json")
    rope = config.get("rope_parameters")
    # Version 4 does not know this key, and would silently use its default positions instead.
    if rope and version < (5,):
        arguments["rope_theta"] = rope["rope_theta"]
        if rope.get("rope_type", "default") != "default":
            arguments["rope_scaling"] = rope
    return arguments


def _direction(network: Any, checkpoint: Checkpoint, tokenizer: Tokenizer) -> Any:
    """The head's weights, "yes" minus "no", as one float32 vector (model card)."""
    if checkpoint.kind == "converted":
        return network.score.weight.detach()[0].float()
    yes, no = answer_ids(tokenizer)
    head = network.lm_head.weight.detach()
    return head[yes].float() - head[no].float()


@contextmanager
def _suppress_logs(transformers: Any) -> Iterator[None]:
    """Suppress transformers' log and progress bars inside the block."""
    log = transformers.utils.logging
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()
