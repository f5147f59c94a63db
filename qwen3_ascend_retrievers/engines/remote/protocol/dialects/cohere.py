"""Servers and gateways that took over Cohere's `/rerank`; some differ in a few parameters.

Who templates is measured where a server counts the tokens of whole prompts; else it is known of the
server, or must be said. Read in source or on vendors' pages in 2026; see docs/remote.md.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from .base import Dialect, Words

# LiteLLM's proxy, new-api, LocalAI, and whatever else has the route.
COHERE: Final = Dialect(
    name="cohere",
    servers="LiteLLM, new-api, LocalAI and other gateways",
    routes=("/v1/rerank", "/rerank", "/v2/rerank"),
    instruction_field="instruction",
    # Gateways in front of vLLM may pass it on.
    logits_field=("use_activation", False),
    constants={"return_documents": False},
    # new-api asks its channels for one document without it.
    sends_top_n=True,
    words=Words(
        # DashScope, SiliconFlow, Infinity (pydantic), Cohere.
        too_many=re.compile(
            r"batch size of documents is invalid, .{0,60}larger than (\d+)"
            r"|batch size .{0,80}not be larger than (\d+)"
            r"|at most (\d+) items|too many documents"
            r"|number of (?:total )?(?:max chunks|documents) .{0,80}(?:exceed|at most|less than)",
            re.IGNORECASE,
        ),
        # Infinity, SiliconFlow, DashScope.
        too_long=re.compile(
            r"at most \d+ characters|must be less than max_seq_len(?: \((\d+))?"
            r"|document index:\d+ is invalid"
            r"|exceeds the model's maximum",
            re.IGNORECASE,
        ),
        busy=re.compile(r"overloaded|capacity reached", re.IGNORECASE),
        unknown_model=re.compile(
            r"model not exist|no available channel for model|无可用渠道", re.IGNORECASE
        ),
        # LiteLLM without a database answers 400 or 500.
        wrong_key=re.compile(r"no connected db|no api key passed in", re.IGNORECASE),
    ),
)
# It cuts white space off both texts, which the prompt ends in, so that no template of this side's
# is exact; and it counts characters.
INFINITY: Final = replace(
    COHERE,
    name="infinity",
    servers="Infinity",
    routes=("/rerank", "/v1/rerank"),
    owners=("infinity",),
    logits_field=("raw_scores", True),
    instruction_field=None,
    counts_prompts=False,
    inexact=(
        "Infinity cuts white space off texts, so that a prompt built on this side never arrives "
        "exactly. Serve the model with vLLM. (template='server' is for a checkpoint whose "
        "tokenizer builds the prompt; template='none' sends texts as they are, for other models.)"
    ),
)
XINFERENCE: Final = replace(
    COHERE,
    name="xinference",
    servers="Xinference",
    routes=("/v1/rerank",),
    owners=("xinference",),
    needs_model=True,
    logits_field=None,
    instruction_field=None,
    counts_prompts=False,
    template="server",
    ignored_instruction=(
        "Xinference applies the template with a fixed instruction, so a custom one would have no "
        "effect. Drop the instruction, or serve the model with vLLM."
    ),
)
# Older ones run llama-box, which spreads the scores of each request over [0, 1] unless told not to.
GPUSTACK: Final = replace(
    COHERE,
    name="gpustack",
    servers="GPUStack",
    routes=("/v1/rerank",),
    owners=("gpustack",),
    needs_model=True,
    constants={"return_documents": False, "normalize": False},
)
_VENDOR: Final = replace(
    COHERE,
    lists_models=False,
    needs_model=True,
    logits_field=None,
    counts_prompts=False,
    template="server",
)
DASHSCOPE: Final = replace(
    _VENDOR,
    name="dashscope",
    servers="Alibaba Cloud's DashScope",
    routes=("/v1/reranks",),
    hosts=(".aliyuncs.com",),
    instruction_field="instruct",
    max_documents=500,
    max_length=4_000,
)
SILICONFLOW: Final = replace(
    _VENDOR,
    name="siliconflow",
    servers="SiliconFlow",
    routes=("/v1/rerank",),
    hosts=(".siliconflow.cn", ".siliconflow.com"),
)
VARIANTS: Final = (INFINITY, XINFERENCE, GPUSTACK, DASHSCOPE, SILICONFLOW)
