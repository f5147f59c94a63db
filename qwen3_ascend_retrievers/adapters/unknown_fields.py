"""What an error says about a field that no adapter has: the nearest name, or where it belongs."""

from __future__ import annotations

import re
from collections.abc import Collection
from difflib import get_close_matches
from typing import Any, Final

from ..engines.registry import engines_taking
from ..models.files import TINY

# What other rerankers and clients call the same; the nearest spelling would miss these.
_NAMES_ELSEWHERE: Final = {
    "api_base": "base_url",
    "endpoint": "base_url",
    "k": "top_n",
    "model_id": "model",
    "model_name": "model",
    "prompt": "instruction",
    "similarity_cutoff": "score_threshold",
    "task": "instruction",
    "token": "api_key",
    "top_k": "top_n",
    "url": "base_url",
}
# A key that was passed without its name must not be quoted.
_MODEL_NAME: Final = re.compile(rf"{TINY}|[\w.-]{{1,100}}/[\w.-]{{1,100}}")


def unknown_field_text(component: str, name: str, fields: Collection[str]) -> str:
    """The error's text.

    Args:
        component: the class's name.
        name: the field that was passed.
        fields: all that the class has.
    """
    text = f"{component} has no field {name}."
    if name not in _NAMES_ELSEWHERE and (engines := engines_taking(name)):
        option = f'engine_options={{"{name}": ...}}'
        return f"{text} It belongs to {' or '.join(engines)}: pass {option}."
    nearest = _NAMES_ELSEWHERE.get(name)
    if nearest not in fields:
        nearest = next(iter(get_close_matches(name.lower(), fields, n=1)), None)
    question = f" Did you mean {nearest}?" if nearest else ""
    return f"{text}{question} It has: {', '.join(sorted(fields))}."


def positional_text(component: str, values: tuple[Any, ...]) -> str:
    """The error's text for arguments without names; of values only a model's name is quoted."""
    likely = "engine=..."
    if isinstance(values[0], str):
        is_url, is_model = "://" in values[0], _MODEL_NAME.fullmatch(values[0])
        likely = "base_url=..." if is_url else f'model="{values[0] if is_model else "..."}"'
    return f"{component} takes arguments by name only: write {component}({likely})."
