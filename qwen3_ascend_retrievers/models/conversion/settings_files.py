"""config.json and the tokenizer's files of a converted checkpoint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ...core.tokens import Tokenizer
from ..files import read_json

_PAD: Final = "<|endoftext|>"
# Flags of vLLM that turn an original checkpoint into a classifier; here it is one already.
_NOT_KEPT: Final = ("classifier_from_token", "is_original_qwen3_reranker")
_COPIED: Final = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "LICENSE",
)


def converted_config(config: Mapping[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    """The config of the same model as a classifier with one label.

    transformers scores batches only where a padding token is set, which Qwen's config lacks.
    """
    made = {name: value for name, value in config.items() if name not in _NOT_KEPT}
    made |= {
        "architectures": ["Qwen3ForSequenceClassification"],
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
    }
    if made.get("pad_token_id") is None:
        made["pad_token_id"] = tokenizer.encode_batch([_PAD])[0].ids[0]
    return made


def copy_tokenizer(source: Path, target: Path) -> None:
    """The tokenizer's files, with a padding token and without the chat template.

    The chat template is of a chat model: applied to a reranker it makes another prompt.

    Raises:
        ModelError: tokenizer_config.json is not readable.
    """
    for name in _COPIED:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    settings = source / "tokenizer_config.json"
    if settings.is_file():
        read = read_json(str(source), settings)
        read.pop("chat_template", None)
        read.setdefault("pad_token", _PAD)
        write_json(target / "tokenizer_config.json", read)


def write_json(path: Path, value: Any) -> None:
    """A JSON file for people and machines."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
