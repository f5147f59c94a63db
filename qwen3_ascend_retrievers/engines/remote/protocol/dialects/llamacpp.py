"""llama.cpp's server, started with `--rerank` (tools/server of 0c1e5709, 2026-10-01).

The template is in the GGUF file, with a fixed instruction. Scores are probabilities since b6578.
A GGUF that was converted without its classifier answers 200 with scores near 1e-20.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ..rerank_api import read_token_ids
from .base import Details, DetailsRoute, Dialect, TokenizeRoute, Words, size_of


def _read_props(reply: Any) -> Details | None:
    generation = reply.get("default_generation_settings") if isinstance(reply, Mapping) else None
    if not isinstance(generation, Mapping):
        return None
    return Details(max_length=size_of(generation.get("n_ctx")))


LLAMACPP: Final = Dialect(
    name="llamacpp",
    servers="llama.cpp's server",
    routes=("/v1/rerank",),
    owners=("llamacpp",),
    tokenize=TokenizeRoute(
        path="/tokenize",
        text_field="content",
        constants={"add_special": False},
        read=read_token_ids,
    ),
    details=DetailsRoute(path="/props", read=_read_props),
    template="server",
    ignored_instruction=(
        "The server's template is in its GGUF file, with a fixed instruction, so a custom one "
        "would have no effect. Drop the instruction, or serve the model with vLLM."
    ),
    words=Words(
        too_long=re.compile(
            r"is too large to process(?:.{0,80}batch size: (\d+))?"
            r"|exceeds the available context size(?: \((\d+))?"
            r"|larger than the max context size(?: \((\d+))?",
            re.IGNORECASE,
        ),
        # It fails with 500 at a text beyond its batch, however often it is asked.
        too_long_statuses=(400, 500),
        # Its slots share one cache, which several long documents fill by chance.
        busy=re.compile(r"context size has been exceeded", re.IGNORECASE),
        busy_statuses=(500,),
    ),
)
