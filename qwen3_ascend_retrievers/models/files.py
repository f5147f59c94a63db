"""Where a model's files are: the bundled folder, a local folder, or the hub's cache.

Finding, fetching and reading JSON only; checkpoint.py checks whether a checkpoint can be used, and
tokenizer.py loads its tokenizer.
"""

from __future__ import annotations

import json
import re
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ..errors import InvalidInputError, MissingDependencyError, ModelError
from ..settings import DEFAULT_MODEL, flag
from .formats import foreign_format, format_by_name, format_of_file, format_of_folder

TINY: Final = "tiny"
TINY_FOLDER: Final = Path(__file__).parent / "tiny_model"
ALLOW_TINY_VARIABLE: Final = "QWEN3_RERANK_ALLOW_TINY"

# What to do about a file that is damaged or incomplete; the end of a message.
FETCH_AGAIN: Final = "Fetch the model again."

_HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")
# In bytes; the index of the largest model has a tenth of this.
_MAX_JSON_BYTES: Final = 100_000_000
_MODEL_FILES: Final = ("*.json", "*.safetensors", "*.txt")
_tiny_warned = threading.Event()


class TinyModelWarning(UserWarning):
    """The bundled model is in use outside demo and self-test."""


def warn_if_tiny(model: str) -> None:
    """Warn once per process if `model` is the bundled one.

    Demos and tests set the environment variable QWEN3_RERANK_ALLOW_TINY=1 to silence it.
    """
    if model != TINY or _tiny_warned.is_set() or flag(ALLOW_TINY_VARIABLE):
        return
    _tiny_warned.set()
    warnings.warn(
        f'model="{TINY}" is for demonstration and self-test, not for production ranking. '
        f'Switch with model="{DEFAULT_MODEL}", or set {ALLOW_TINY_VARIABLE}=1 '
        "to silence this.",
        TinyModelWarning,
        stacklevel=2,
    )


def local_folder(model: str, revision: str | None = None) -> Path | None:
    """The folder that `model` names on this machine; None if it is a hub id.

    "tiny" is the bundled model; write "./tiny" for a folder of that name.

    Raises:
        ModelError: there is no such folder, and the name cannot be a hub id.
        InvalidInputError: a revision was given for a folder, which has none.
    """
    try:
        folder = TINY_FOLDER if model == TINY else Path(model).expanduser()
        is_file, is_folder = folder.is_file(), folder.is_dir()
    # "~" of an unknown user, a name that is too long for the file system, a NUL character.
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelError(f"{model!r:.200} cannot be the path of a model folder: {error}") from error
    if is_file:
        raise ModelError(f"{model} {format_of_file(folder)}")
    # The path of an empty name is the current folder.
    if not is_folder or not model:
        if model != TINY and _HUB_ID.fullmatch(model) and not model.startswith("."):
            return None
        raise ModelError(
            f"There is no model folder {str(folder)!r}. Give a folder with config.json, a hub id "
            f'such as "{DEFAULT_MODEL}", or "{TINY}" for the bundled model.'
        )
    if revision is not None:
        raise InvalidInputError(
            f"revision={revision!r} belongs to hub ids; {model!r} is a folder on this machine. "
            "Leave revision out."
        )
    return folder


def find_file(model: str, name: str, revision: str | None = None) -> Path:
    """One file of a model, fetched from the hub if it is neither here nor in the hub's cache.

    Args:
        model: "tiny", a folder, or a hub id.
        name: such as "config.json".
        revision: branch, tag or commit of a hub id; None is its main branch.

    Raises:
        ModelError: the model or the file cannot be found or fetched.
        MissingDependencyError: it is a hub id and huggingface_hub is not installed.
        InvalidInputError: a revision was given for a folder.
    """
    folder = local_folder(model, revision)
    if folder is None:
        return Path(_from_hub(model, "hf_hub_download", filename=name, revision=revision))
    path = folder / name
    if not path.is_file():
        raise ModelError(f"{model} {format_of_folder(folder, missing_file=name)}")
    return path


def fetch_model(model: str, revision: str | None = None) -> Path:
    """The folder with all of a model's files, fetched from the hub where needed.

    Raises: as `find_file`.
    """
    folder = local_folder(model, revision)
    if folder is not None:
        return folder
    folder = Path(
        _from_hub(model, "snapshot_download", allow_patterns=list(_MODEL_FILES), revision=revision)
    )
    if not any(folder.glob("*.safetensors")):
        description = _format_on_hub(model, revision) or format_of_folder(
            folder, missing_file="weights"
        )
        raise ModelError(f"{model} {description}")
    return folder


def read_json(model: str, path: Path) -> dict[str, Any]:
    """The object in a JSON file of the model.

    Raises:
        ModelError: it is not readable, or no object.
    """
    value = read_any_json(model, path)
    if not isinstance(value, dict):
        raise ModelError(f"{model}: {path} holds no JSON object. {FETCH_AGAIN}")
    return value


def read_any_json(model: str, path: Path) -> Any:
    """The value in a JSON file of the model.

    Raises:
        ModelError: it is not readable.
    """
    try:
        size = path.stat().st_size
        if size > _MAX_JSON_BYTES:
            raise ValueError(f"it has {size} bytes, too many for such a file")
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{model}: {path} cannot be read: {error}. {FETCH_AGAIN}") from error


def _from_hub(model: str, function: str, **arguments: Any) -> str:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingDependencyError(
            f"Fetching {model} from the hub needs huggingface_hub: "
            "pip install 'qwen3-ascend-retrievers[tokenizers]'. Or give a local folder."
        ) from error
    fetch: Callable[..., str] = getattr(huggingface_hub, function)
    try:
        return fetch(model, **arguments)
    # The hub's errors are huggingface_hub's own, httpx's or requests', and OSErrors.
    except Exception as error:
        description = _format_on_hub(model, arguments.get("revision"))
        if description is not None:
            raise ModelError(f"{model} {description}") from error
        subject = arguments.get("filename", "its files")
        guess = format_by_name(model)
        hint = "" if guess is None else f"By its name it {guess} Else: "
        raise ModelError(
            f"{model}: {subject} could not be fetched ({type(error).__name__}). {hint}Check the "
            "name and revision, the way to the hub (HF_ENDPOINT sets a mirror) and HF_HUB_OFFLINE, "
            "or download the model by other means and give its folder."
        ) from error


def _format_on_hub(model: str, revision: str | None) -> str | None:
    """What a repository without the files of a checkpoint is; None if that is unknown."""
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        return None
    try:
        return foreign_format(HfApi().list_repo_files(model, revision=revision))
    # This only improves a message; the error that led here is what matters.
    except Exception:
        return None
