"""Text Embeddings Inference 1.9 (router/src/http/server.rs), and Huawei's mis-tei made of it.

It scores both texts without a template, unless one was set when it was started, as mis-tei does
with `DEFAULT_PROMPT`. Token counts are in the header `x-compute-tokens`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from .....errors import ReplyError
from .base import Details, DetailsRoute, Dialect, TokenizeRoute, Words, size_of


def _read_tokenize(reply: Any) -> tuple[tuple[int, ...], None]:
    lists = reply if isinstance(reply, list) and len(reply) == 1 else [None]
    tokens = lists[0] if isinstance(lists[0], list) else [None]
    ids_or_none = [token.get("id") if isinstance(token, Mapping) else None for token in tokens]
    ids = tuple(token for token in ids_or_none if isinstance(token, int) and token >= 0)
    if len(ids) != len(tokens):
        raise ReplyError("The reply has no list of tokens with ids")
    return ids, None


def _read_info(reply: Any) -> Details | None:
    if not isinstance(reply, Mapping) or "max_client_batch_size" not in reply:
        return None
    kind, problem = reply.get("model_type"), None
    if isinstance(kind, Mapping) and "reranker" not in kind:
        problem = (
            f"The served model is no reranker but {', '.join(map(str, kind))} (/info). Serve one "
            "with a single output, such as a Qwen3-Reranker that `qwen3-rerank convert` wrote, if "
            "this build takes it."
        )
    return Details(
        max_length=size_of(reply.get("max_input_length")),
        max_documents=size_of(reply.get("max_client_batch_size")),
        problem=problem,
    )


TEI: Final = Dialect(
    name="tei",
    servers="Text Embeddings Inference, mis-tei",
    routes=("/rerank",),
    documents_field="texts",
    logits_field=("raw_scores", True),
    # From 1.9 on the server cuts silently unless it is told not to.
    constants={"truncate": False},
    sends_model=False,
    lists_models=False,
    tokenize=TokenizeRoute(
        path="/tokenize",
        text_field="inputs",
        constants={"add_special_tokens": False},
        read=_read_tokenize,
    ),
    details=DetailsRoute(path="/info", read=_read_info),
    ignored_instruction=(
        "The server was started with a template and takes no instruction with a request, so a "
        "custom instruction would have no effect. Set it where the server is started (mis-tei: "
        "DEFAULT_PROMPT), or drop the instruction."
    ),
    words=Words(
        too_long=re.compile(r"must have less than (?:(\d+) tokens|\d+ characters)", re.IGNORECASE),
        too_many=re.compile(r"batch size \d+ > maximum allowed batch size (\d+)", re.IGNORECASE),
        busy=re.compile(r"model is overloaded", re.IGNORECASE),
    ),
)
