"""vLLM and vLLM-Ascend, 0.9.2 to 0.32 (vllm/entrypoints/pooling of 0.32.0).

Who templates, and whether exactly, is measured: token counts in `usage`, `/tokenize`, and
`/classify` with token ids from 0.18 on.
"""

from __future__ import annotations

import re
from typing import Final

from ..rerank_api import read_token_ids
from .base import Dialect, TokenizeRoute, Words

VLLM: Final = Dialect(
    name="vllm",
    servers="vLLM, vLLM-Ascend",
    routes=("/v1/rerank",),
    owners=("vllm",),
    instruction_field="instruction",
    logits_field=("use_activation", False),
    tokenize=TokenizeRoute(
        path="/tokenize",
        text_field="prompt",
        constants={"add_special_tokens": False, "return_token_strs": True},
        sends_model=True,
        read=read_token_ids,
    ),
    classifies_ids=True,
    words=Words(
        too_long=re.compile(
            r"maximum (?:context|model|input|sequence) length (?:is|of) (\d+)"
            r"|maximum (?:context|model|input|sequence)|context length|max_model_len|too long"
            r"|too many tokens|longer than|exceeds? .{0,100}(?:length|limit|tokens)",
            re.IGNORECASE,
        ),
        # The two admission errors of vLLM's exceptions.py.
        busy=re.compile(r"\bbusy\b|\bqueue|backlog|capacity", re.IGNORECASE),
        unknown_model=re.compile(
            r"\bmodel\b.{0,300}(does not exist|not (be )?found|is not (available|served|supported))"
            r"|(unknown|invalid|no such) model\b|model_not_found"
            r"|no \w+ (for|with) .{0,40}\bmodel\b",
            re.IGNORECASE | re.DOTALL,
        ),
    ),
)
