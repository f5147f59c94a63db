"""Who applies the prompt's template, this side or the server: values, decisions and advice.

canary.py decides which questions a server is asked, and in what order. No token count of any
particular tokenizer is built in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from ....core.prompt import DEFAULT_INSTRUCTION, document_part, query_part
from ....core.tokens import token_ceiling
from ....errors import TemplateMismatchError

TemplateOwner = Literal["client", "server", "none"]
TemplateChoice = Literal["auto", "client", "server", "none"]
RouteChoice = Literal["auto", "rerank", "classify"]
PlainScore = Literal["probability", "logit"]
ScoreChoice = Literal["auto", "probability", "logit"]

# The canary pair: as short as possible, so that most tokens are the template's.
CANARY_QUERY: Final = "a"
CANARY_DOCUMENT: Final = "b"
# Tokens may merge differently at both ends of both texts in the server's template.
_MAX_MERGED_TOKENS: Final = 4
# A count of characters may lack those that were stripped off.
_LEAST_SHARE_OF_CHARACTERS: Final = 0.8

SERVE_FLAGS: Final = (
    '--runner pooling --hf-overrides \'{"architectures": ["Qwen3ForSequenceClassification"], '
    '"classifier_from_token": ["no", "yes"], "is_original_qwen3_reranker": true}\''
)
UNCHECKED: Final = (
    "Whether the server builds the exact prompt could not be checked: its /classify takes no "
    "token ids (vLLM before 0.18), or neither tokenizer=... nor /tokenize gives any."
)
UNPROVEN: Final = (
    "The server's token counts fit Qwen3-Reranker's prompt, and nothing shows whether its text is "
    "exact too. Compare a known pair (qwen3-rerank doctor)."
)
UNCOUNTED: Final = (
    "The server counts no tokens in its replies, so who applies the template cannot be found out. "
    "Say it: template='client' if the server was started without a rerank template, "
    "template='server' if it has Qwen3's."
)
UNMEASURED: Final = (
    "The server counts no tokens in its replies, so nothing shows whether the exact prompt is "
    "built: the scores are as right as its template. Compare a known pair (qwen3-rerank doctor)."
)
NO_CLASSIFY: Final = (
    "protocol='classify' needs a server whose /classify takes token ids (vLLM 0.18 or later), and "
    "token ids: pass tokenizer=..., or let /tokenize be reached. Else use protocol='rerank'."
)
NO_PLACE_FOR_INSTRUCTION: Final = (
    "template='none' sends texts as they are, so that `instruction` has no place in them. Leave it "
    "out, or write it into the texts."
)
IGNORED_INSTRUCTION: Final = (
    "The server applies its own template and ignores `instruction` (vLLM before 0.23, or a "
    "template file that does not use it), so a custom instruction would have no effect. Start the "
    "server without --chat-template, or pass tokenizer=... with vLLM 0.18 or later, or drop the "
    "instruction."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedMode:
    """The caller's choices; "auto" leaves one to the canaries."""

    template: TemplateChoice = "auto"
    protocol: RouteChoice = "auto"
    scores: ScoreChoice = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """How a server is asked for scores.

    Attributes:
        route: "classify" sends token ids, "rerank" sends texts.
        template: whose template the texts get on the rerank route.
        logits: whether the route can return logits, if it is asked for them.
        plain: what its numbers are if it is not.
        instructions: whether a custom instruction reaches the prompt; None if nothing shows it.
        verified: whether the server's prompt was proven exact; None on the classify route, and
            where nothing shows it.
        fallback: whether `/classify` with token ids works too and returns exact scores, in logits.
        warning: a warning for the caller, or None.
    """

    route: Literal["rerank", "classify"]
    template: TemplateOwner
    logits: bool = False
    plain: PlainScore = "probability"
    instructions: bool | None = False
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


def is_of_tokens(whole: int) -> bool:
    """Whether the count of the templated canary may be one of tokens.

    Some servers count words (LocalAI) or characters (Infinity), which would tell nothing of the
    template. A prompt has more tokens than words, and even twice it has fewer than characters.
    """
    text = query_part(DEFAULT_INSTRUCTION, CANARY_QUERY) + document_part(CANARY_DOCUMENT)
    return len(text.split()) < whole < _LEAST_SHARE_OF_CHARACTERS * len(text)


def owner_by_counts(bare: int, whole: int, expected: tuple[int, int] | None) -> TemplateOwner:
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
    elif bare <= token_ceiling(CANARY_QUERY + CANARY_DOCUMENT) and whole > 2 * bare:
        return "client"
    elif bare > _MAX_MERGED_TOKENS and abs(2 * bare - whole) <= _MAX_MERGED_TOKENS:
        return "server"
    hint = "" if expected is None else f" where {expected[0]} and {expected[1]} were expected"
    raise TemplateMismatchError(
        f"The server counts {bare} tokens for a bare pair and {whole} for a templated one{hint}. "
        "That is neither Qwen3-Reranker's prompt nor none. Check --chat-template (best: none), "
        "that the served model is a Qwen3-Reranker, and that tokenizer=..., if set, is its own."
    )


def check_requested(requested: TemplateChoice, owner: TemplateOwner) -> TemplateOwner:
    """`owner`, if it is what the caller requested.

    Raises:
        TemplateMismatchError: both sides would apply the template, or neither would.
    """
    if requested in ("auto", owner):
        return owner
    if owner == "server":
        raise TemplateMismatchError(
            f"template={requested!r}, but the server applies a template itself, so the prompt "
            "would hold it twice. Start it without --chat-template, or use template='auto'."
        )
    raise TemplateMismatchError(
        f"template={requested!r}, but the server applies none, so the scores would be meaningless. "
        "Start it with --chat-template, or use template='auto'."
    )


def mismatch_advice(owner: TemplateOwner) -> str:
    """What to do about a server whose scores differ from those of the exact prompt."""
    if owner == "client":
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


def embeddings_advice() -> str:
    """What to do about a server that was started without the overrides."""
    return (
        "The server compares embeddings (identical texts score 1.0) and does not rerank. Start it "
        f"with {SERVE_FLAGS} for an original checkpoint; a converted one needs only "
        "--runner pooling."
    )


def no_rerank_advice() -> str:
    """What to do about a server that has the route but a model loaded for another task."""
    return (
        f"Start vLLM with {SERVE_FLAGS} for an original checkpoint; a converted one needs only "
        "--runner pooling."
    )


def no_probability_advice(value: float) -> str:
    """What to do about a score of vLLM's outside [0, 1]."""
    return (
        f"The server's score {value} is no probability, so it is not a Qwen3 reranker's. Start "
        f"the server with {SERVE_FLAGS}. (If it returns logits: scores='logit'.)"
    )


def alike_advice(owner: TemplateOwner) -> str:
    """What to do about a server to which a right answer and a wrong one are the same."""
    advice = (
        "The server's template drops the texts (SGLang: pass --chat-template with its "
        "qwen3_reranker.jinja), or the model was converted without its classifier (llama.cpp: "
        "convert it from a folder with qwen3-reranker in its name)."
    )
    if owner == "client":
        advice = "It is no Qwen3-Reranker, or it was converted without its classifier."
    return f"The server gives three very different documents the same score. {advice}"


def counts_differ(expected: Iterable[int | None], actual: int | None) -> bool:
    """Whether a reply's token count contradicts what was sent; False where a count is unknown."""
    total = 0
    for count in expected:
        if count is None:
            return False
        total += count
    return actual is not None and actual != total
