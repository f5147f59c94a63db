"""Which files VLLMEngine loads: a folder, a Hugging Face id or a ModelScope id; nothing is written
into a folder of the caller's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from ...errors import MissingDependencyError, ModelError
from ...models.checkpoint import Checkpoint, find_checkpoint, reranker_kind
from ...models.files import local_folder, read_json
from ...settings import flag

SOURCES: Final = ("auto", "huggingface", "modelscope")
# Values of max_lora_rank that every version of vLLM takes (config/lora.py).
_RANKS: Final = (8, 16, 32, 64, 128, 256)


def fetch_checkpoint(model: str, revision: str | None, source: str) -> Checkpoint:
    """The complete checkpoint, on this machine.

    Args:
        model: "tiny", a folder, or a hub's id.
        revision: of a hub's id, or None.
        source: "huggingface", "modelscope", or "auto", which is ModelScope where the environment
            variable VLLM_USE_MODELSCOPE says so.

    Raises:
        ModelError: it is missing, incomplete, or no Qwen3 reranker.
        MissingDependencyError: the hub's library is not installed.
        InvalidInputError: a revision was given for a folder.
    """
    modelscope = source == "modelscope" or (source == "auto" and flag("VLLM_USE_MODELSCOPE"))
    if not modelscope or local_folder(model, revision) is not None:
        return find_checkpoint(model, revision)
    return find_checkpoint(str(_download_from_modelscope(model, revision)))


def _download_from_modelscope(model: str, revision: str | None) -> Path:
    try:
        from modelscope import model_file_download, snapshot_download
    except ImportError as error:
        raise MissingDependencyError(
            f"Fetching {model} from ModelScope needs modelscope: pip install modelscope. "
            "Or give a local folder."
        ) from error
    try:
        config = Path(model_file_download(model, "config.json", revision=revision))
        reranker_kind(model, read_json(model, config))
        return Path(snapshot_download(model, revision=revision))
    except ModelError:
        raise
    # ModelScope's errors come from its own class tree, from requests, and from the disk.
    except Exception as error:
        raise ModelError(
            f"{model} could not be fetched from ModelScope ({type(error).__name__}: {error}). "
            "Check the name and the revision, or download the model by other means and give its "
            "folder."
        ) from error


def check_shards(checkpoint: Checkpoint, answers: tuple[int, int], tensor_parallel: int) -> None:
    """Raise ModelError where tensor parallelism would cut "yes" or "no" out of the head.

    vLLM takes both rows of an original checkpoint's head from the first card's share of the
    vocabulary, which it pads to a multiple of 64 (model_executor/models/adapters.py).
    """
    rows = -(-checkpoint.vocab_size // 64) * 64 // tensor_parallel
    if checkpoint.kind == "original" and max(answers) >= rows:
        raise ModelError(
            f"With tensor_parallel_size={tensor_parallel} the first card holds {rows} rows of the "
            f"head, and the token {max(answers)} is not among them. Convert the checkpoint "
            "(`qwen3-rerank convert`), or use fewer cards."
        )


def lora_rank(folder: str) -> int:
    """vLLM's max_lora_rank for an adapter in PEFT's format.

    Raises:
        ModelError: the folder holds none, or one of a rank that vLLM does not take.
    """
    try:
        path = Path(folder).expanduser() / "adapter_config.json"
        rank: Any = read_json(folder, path)["r"]
    except (ModelError, KeyError, RuntimeError) as error:
        raise ModelError(
            f"lora={folder!r} is no folder with a readable adapter_config.json (PEFT): {error}"
        ) from error
    limits = [limit for limit in _RANKS if type(rank) is int and 0 < rank <= limit]
    if not limits:
        raise ModelError(f"lora={folder!r} has rank {rank!r}; vLLM takes up to {_RANKS[-1]}.")
    return limits[0]
