"""Who applies the prompt's template, this side or the server: values, judgements and advice.

Which questions a server is asked, and in what order, is canary.py's part. No token count of any
particular tokenizer is built in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from ....core.tokens import token_ceiling
from ....errors import TemplateMismatchError

Who = Literal["client", "server", "none"]
Template = Literal["auto", "client", "server", "none"]
Protocol = Literal["auto", "rerank", "classify"]

# The canary pair: as short as can be, so that a template's tokens stand out.
QUERY: Final = "a"
DOCUMENT: Final = "b"
# Tokens may merge differently where the texts meet the server's template: two seams, both ends.
_SEAMS: Final = 4

SERVE_FLAGS: Final = (
    '--runner pooling --hf-overrides \'{"architectures": ["Qwen3ForSequenceClassification"], '
    '"classifier_from_token": ["no", "yes"], "is_original_qwen3_reranker": true}\''
)
UNCHECKED: Final = (
    "Whether the server builds the exact prompt could not be checked: its /classify takes no "
    "token ids (vLLM before 0.18), or neither tokenizer=... nor /tokenize gives any."
)
UNCOUNTED: Final = (
    "The server counts no tokens (no usage in its replies), so who applies the template cannot "
    "be found out. Say it: template='client' if the server was started without a rerank template, "
    "template='server' if it has Qwen3's."
)
NO_CLASSIFY: Final = (
    "protocol='classify' needs a server whose /classify takes token ids (vLLM 0.18 or later), and "
    "token ids: pass tokenizer=..., or let /tokenize be reached. Else use protocol='rerank'."
)
IGNORED_INSTRUCTION: Final = (
    "The server applies its own template and ignores `instruction` (vLLM before 0.23, or a "
    "template file that does not use it), so a custom instruction would have no effect. Start the "
    "server without --chat-template, or pass tokenizer=... with vLLM 0.18 or later, or drop the "
    "instruction."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedMode:
    """What the caller asked for; "auto" leaves it to the canaries."""

    template: Template = "auto"
    protocol: Protocol = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """How a server is talked to.

    Attributes:
        route: "classify" sends token ids, "rerank" sends texts.
        template: whose template the texts get on the rerank route.
        logits: whether the route gives logits when asked to.
        instructions: whether a custom instruction reaches the prompt.
        verified: whether the server's prompt was proven exact; None on the classify route.
        fallback: whether `/classify` with token ids works too and gives exact scores, in logits.
        warning: what the caller should know, or None.
    """

    route: Literal["rerank", "classify"]
    template: Who
    logits: bool = False
    instructions: bool = False
    verified: bool | None = False
    fallback: bool = False
    warning: str | None = None

    @classmethod
    def classify(cls) -> Mode:
        """Token ids to `/classify`: exact, whatever template the server has."""
        return cls(
            route="classify",
            template="client",
            logits=True,
            instructions=True,
            verified=None,
            fallback=True,
        )


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
        "that the served model is a Qwen3-Reranker, and that tokenizer=..., if set, is its own."
    )


def check_requested(wish: Template, found: Who) -> Who:
    """`found`, if it is what was wished for.

    Raises:
        TemplateMismatchError: both sides would apply the template, or neither would.
    """
    if wish in ("auto", found):
        return found
    if found == "server":
        raise TemplateMismatchError(
            f"template={wish!r}, but the server applies a template itself, so the prompt would "
            "hold it twice. Start it without --chat-template, or use template='auto'."
        )
    raise TemplateMismatchError(
        f"template={wish!r}, but the server applies none, so the scores would be meaningless. "
        "Start it with --chat-template, or use template='auto'."
    )


def mismatch(who: Who) -> str:
    """What to do about a server whose scores differ from those of the exact prompt."""
    if who == "client":
        return (
            "The server's /v1/rerank and /classify disagree about the same prompt: something "
            "changes what is sent, or tokenizer=... is another model's. Use "
            "protocol='classify' with the right tokenizer, or look at the gateway in between."
        )
    return (
        "The server's template makes as many tokens as Qwen3-Reranker's prompt but other scores. "
        "The official qwen3_reranker.jinja does: Jinja strips the file's final newline. Let the "
        "file of --chat-template end in three newlines, or start the server without "
        "--chat-template, or use protocol='classify' (vLLM 0.18 or later)."
    )


def embeddings() -> str:
    """What to do about a server that was started without the overrides."""
    return (
        "The server compares embeddings (identical texts score 1.0) and does not rerank. Start it "
        f"with {SERVE_FLAGS} for an original checkpoint; a converted one needs only "
        "--runner pooling."
    )


def no_probability(value: float) -> str:
    """What to do about a score outside [0, 1]."""
    return (
        f"The server's score {value} is no probability, so it is not a Qwen3 reranker's. Start "
        f"the server with {SERVE_FLAGS}."
    )


def counts_differ(expected: Iterable[int | None], told: int | None) -> bool:
    """Whether a reply's token count contradicts what was sent; False where one is not known."""
    total = 0
    for one in expected:
        if one is None:
            return False
        total += one
    return told is not None and told != total
