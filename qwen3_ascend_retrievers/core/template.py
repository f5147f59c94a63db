"""Who applies the prompt's template, this side or the server: values and judgements.

Which questions a server is asked, and in what order, is canary.py's part. No token count of any
particular tokenizer is built in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ..errors import TemplateMismatchError
from .tokens import token_ceiling

Who = Literal["client", "server", "none"]
Template = Literal["auto", "client", "server", "none"]
Protocol = Literal["auto", "rerank", "classify"]

SERVE_FLAGS: Final = (
    '--runner pooling --hf-overrides \'{"architectures": ["Qwen3ForSequenceClassification"], '
    '"classifier_from_token": ["no", "yes"], "is_original_qwen3_reranker": true}\''
)

# The canary pair: as short as can be, so that a template's tokens stand out.
QUERY, DOCUMENT = "a", "b"
# Tokens may merge differently where the texts meet the server's template: two seams, both ends.
_SEAMS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the caller asked for; "auto" leaves it to the canaries."""

    template: Template = "auto"
    protocol: Protocol = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """How a server is talked to.

    Attributes:
        route: "classify" sends token ids; "rerank" sends texts.
        template: whose template the texts get on the rerank route.
        logits: whether that route gives logits when asked to.
        instructions: whether the server's template uses the instruction that is sent.
        verified: whether the server's prompt was proven exact; None on the classify route.
        fallback: whether `/classify` with token ids gives exact scores, in logits, as well.
        warning: what the caller should know, or None.
    """

    route: Literal["rerank", "classify"]
    template: Who
    logits: bool = False
    instructions: bool = False
    verified: bool | None = False
    fallback: bool = False
    warning: str | None = None


def who_templates(bare: int, whole: int, expected: tuple[int, int] | None) -> Who:
    """Who applies the template.

    Args:
        bare: tokens that the server counted for the bare canary pair.
        whole: the same for the pair with the template already around it.
        expected: tokens of both by a tokenizer; None without one. Without, a bare pair has at
            most as many tokens as bytes; and where the server wraps both pairs, the template's
            own tokens are the difference between the two and also nearly all of the bare pair.

    Raises:
        TemplateMismatchError: the counts fit neither.
    """
    if expected is not None:
        plain, templated = expected
        if (bare, whole) == (plain, templated):
            return "client"
        if bare == templated and whole > templated:
            return "server"
    elif bare <= token_ceiling(QUERY + DOCUMENT) and whole > 2 * bare:
        return "client"
    elif bare > _SEAMS and abs(2 * bare - whole) <= _SEAMS:
        return "server"
    told = "" if expected is None else f" where {expected[0]} and {expected[1]} were expected"
    raise TemplateMismatchError(
        f"The server counts {bare} tokens for a bare pair and {whole} for a templated one{told}. "
        "That is neither Qwen3-Reranker's prompt nor none. Check --chat-template (best: none), "
        "that the served model is a Qwen3-Reranker"
        + ("." if expected is None else ", and that tokenizer=... is that model's.")
    )


def mismatch(who: Who) -> str:
    """What to do about a server whose scores differ from those of the exact prompt."""
    if who == "client":
        return (
            "The server's /v1/rerank and /classify disagree about the same prompt, so it changes "
            "what it is sent. Use protocol='classify', or ask the gateway in between."
        )
    return (
        "The server's template makes as many tokens as Qwen3-Reranker's prompt but other scores. "
        "The official qwen3_reranker.jinja does: Jinja strips the final newline. Let the file of "
        "--chat-template end in three newlines, or start the server without --chat-template, or "
        "use protocol='classify' (vLLM 0.18 or later)."
    )


def counts_differ(expected: Sequence[int | None], told: int | None) -> bool:
    """Whether a reply's token count contradicts what was sent; False where one is not known."""
    if told is None or any(one is None for one in expected):
        return False
    return told != sum(one for one in expected if one is not None)
