"""SGLang 0.5.8 and later (python/sglang/srt/entrypoints/openai/serving_rerank.py of 0.5.23).

A generating model is asked for "yes" or "no" with the template of `--chat-template`; its own
qwen3_reranker.jinja leaves out the empty thought, so its scores differ from the model card's. A
classifier gets both texts without a template, and its score is the bare logit. Replies have no
counts. The model's name in requests is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ..rerank_api import read_token_ids
from .base import Details, DetailsRoute, Dialect, TokenizeRoute, Words


def _read_model_info(reply: Any) -> Details | None:
    if not isinstance(reply, Mapping) or not isinstance(reply.get("is_generation"), bool):
        return None
    if reply["is_generation"]:
        return Details(template="server")
    return Details(template="client", scores="logit")


SGLANG: Final = Dialect(
    name="sglang",
    servers="SGLang",
    routes=("/v1/rerank",),
    owners=("sglang",),
    instruction_field="instruct",
    constants={"return_documents": False},
    sends_model=False,
    tokenize=TokenizeRoute(
        path="/tokenize",
        text_field="prompt",
        constants={"add_special_tokens": False},
        read=read_token_ids,
    ),
    details=DetailsRoute(path="/model_info", read=_read_model_info),
    words=Words(
        too_long=re.compile(
            r"is longer than the model's context length(?: \((\d+))?"
            r"|exceeds the maximum allowed length(?: \((\d+))?",
            re.IGNORECASE,
        ),
        busy=re.compile(r"request queue is full|request waiting timeout", re.IGNORECASE),
    ),
)
