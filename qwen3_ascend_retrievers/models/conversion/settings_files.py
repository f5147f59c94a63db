"""config.json and the tokenizer's files of a converted checkpoint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ...core.tokens import Tokenizer
from ..files import read_json

_PADDING: Final = "<|endoftext|>"
# Overrides of vLLM that turn an original checkpoint into a classifier; the copy is one already.
_DROPPED_KEYS: Final = ("classifier_from_token", "is_original_qwen3_reranker")
_COPIED_FILES: Final = (
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
    classifier = {name: value for name, value in config.items() if name not in _DROPPED_KEYS}
    classifier |= {
        "architectures": ["Qwen3ForSequenceClassification"],
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
    }
    if classifier.get("pad_token_id") is None:
        classifier["pad_token_id"] = tokenizer.encode_batch([_PADDING])[0].ids[0]
    return classifier


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy the tokenizer's files, with a padding token and without the chat template.

    The chat template is a chat model's: applied to a reranker it makes another prompt.

    Raises:
        ModelError: tokenizer_config.json is not readable.
    """
    for name in _COPIED_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    settings = source / "tokenizer_config.json"
    if settings.is_file():
        config = read_json(str(source), settings)
        config.pop("chat_template", None)
        config.setdefault("pad_token", _PADDING)
        write_json_file(target / "tokenizer_config.json", config)


def write_json_file(path: Path, value: Any) -> None:
    """Write an indented JSON file in UTF-8."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
