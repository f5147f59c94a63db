"""The handshake with a server: which questions it is asked, as `Steps`.

Token counts show who templates, scores by two routes show whether it is done exactly. Nothing is
sent from here; what the replies mean is decided in template_owner.py and core/agreement.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from ....core.agreement import Agreement, tells_logits
from ....core.prompt import DEFAULT_INSTRUCTION, document_part, query_part
from ....core.steps import Steps
from ....errors import ScoreError, TemplateMismatchError
from .dialects.base import Dialect
from .rerank_api import ScoreReply
from .template_owner import (
    CANARY_DOCUMENT,
    CANARY_QUERY,
    NO_CLASSIFY,
    UNCHECKED,
    UNCOUNTED,
    UNMEASURED,
    UNPROVEN,
    Mode,
    PlainScore,
    RequestedMode,
    TemplateChoice,
    TemplateOwner,
    alike_advice,
    check_requested,
    embeddings_advice,
    is_of_tokens,
    mismatch_advice,
    no_probability_advice,
    owner_by_counts,
)

# Texts of several scripts, so that two different tokenizers hardly agree on all counts.
SCORED_QUERY: Final = "What is the capital of China?"
SCORED_DOCUMENTS: Final = (
    "The capital of China is Beijing.",
    "Gravity is a force that attracts two bodies towards each other. 重力 притягивает.",
    "  def f(x):\n\treturn x ** 2  # 🐼\n\n",
)
# The longest prompt that a server must take for all of this is below it with any tokenizer: 153
# tokens with the bundled model's small one.
SHORTEST: Final = 256
# Three documents that no reranker scores alike: scores of one prompt differ by less.
_LEAST_DIFFERENCE: Final = 1e-9
_IDENTICAL_TEXTS: Final = ("a", "b c", "Gravity is a force.")


@dataclass(frozen=True, slots=True)
class AskRerank:
    """What are the scores by the rerank route? Answered with a ScoreReply of finite numbers."""

    query: str
    documents: tuple[str, ...]
    instruction: str | None = None
    logits: bool = False


@dataclass(frozen=True, slots=True)
class AskClassify:
    """What are the scores of these token ids by `/classify`? ScoreReply, or None if it has none."""

    prompts: tuple[tuple[int, ...], ...]
    logits: bool = False


@dataclass(frozen=True, slots=True)
class AskTokens:
    """What are the tokens of these texts? KnownTokens, or None without a tokenizer."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KnownTokens:
    """Token ids of texts.

    Attributes:
        ids: those of each text.
        proven: whether the server's own tokenizer returned the same.
        local: whether a tokenizer on this side returns them, so that they cost no request.
    """

    ids: tuple[tuple[int, ...], ...]
    proven: bool
    local: bool


CanaryQuestion = AskRerank | AskClassify | AskTokens
ModeSteps = Steps[CanaryQuestion, Any, Mode]


@dataclass(frozen=True, slots=True)
class _CanaryTokens:
    """The canaries' tokens, and their scores by `/classify` if it accepts ids.

    Attributes:
        counts: tokens of the bare canary pair, and of the same with the template around it.
        total: tokens of all prompts whose scores are compared.
        agreement: their scores by `/classify`.
    """

    proven: bool
    local: bool
    counts: tuple[int, int]
    total: int
    agreement: Agreement | None


def handshake_steps(requested: RequestedMode, dialect: Dialect) -> ModeSteps:
    """Finds out how to ask a server for scores.

    Raises:
        TemplateMismatchError: the server changes the prompt, scores something else, or cannot do
            what was requested.
        ScoreError: its scores are no probabilities, and nothing says that they are logits.
    """
    plain = dialect.scores if requested.scores == "auto" else requested.scores
    if requested.template == "none":
        warning = "template='none' checks nothing."
        return Mode(route="rerank", template="none", plain=plain, warning=warning)
    if dialect.inexact is not None and requested.template != "server":
        raise TemplateMismatchError(dialect.inexact)
    tokens = yield from _canary_tokens()
    exact = tokens.agreement if tokens is not None else None
    if requested.protocol == "classify" and exact is None:
        raise TemplateMismatchError(NO_CLASSIFY)
    prefers_ids = requested.protocol == "classify" or (
        requested.protocol == "auto" and tokens is not None and tokens.local
    )
    if tokens is not None and exact and tokens.proven and prefers_ids:
        return Mode.classify()
    try:
        owner, is_counted = yield from _find_template_owner(
            requested.template, dialect, tokens.counts if tokens else None
        )
    except TemplateMismatchError:
        if exact is None:
            yield from _refuse_cosine()
        raise
    if exact is None and owner == "client":
        yield from _refuse_cosine()
    asks_logits = dialect.logits_field is not None and plain == "probability"
    mode, reply = yield from _rerank_mode(owner, plain, asks_logits=asks_logits)
    instructions = owner == "client" or (yield from _uses_instruction(dialect, is_counted))
    mode = replace(mode, instructions=instructions)
    if tokens is None or exact is None:
        if is_counted:
            warning = UNCHECKED if dialect.classifies_ids else UNPROVEN
            return replace(mode, warning=warning)
        return replace(mode, verified=None, warning=UNMEASURED)
    same_count = reply.tokens in (None, tokens.total)
    agrees = same_count and exact.holds(reply.values, logits=mode.logits)
    return _select_mode(requested, tokens, mode, agrees)


def _select_mode(requested: RequestedMode, tokens: _CanaryTokens, mode: Mode, agrees: bool) -> Mode:
    """The route, now that the scores of both are compared."""
    # Equal scores prove a local tokenizer as well.
    usable = tokens.proven or agrees
    if usable and requested.protocol == "classify":
        return Mode.classify()
    if usable and requested.protocol == "auto" and (tokens.local or not agrees):
        return Mode.classify()
    if not agrees:
        raise TemplateMismatchError(mismatch_advice(mode.template))
    return replace(mode, verified=True, fallback=True)


def _canary_tokens() -> Steps[CanaryQuestion, Any, _CanaryTokens | None]:
    """The canaries' tokens and their scores by `/classify`, as far as the server has the routes."""
    parts = [document_part(document) for document in SCORED_DOCUMENTS]
    texts = (
        CANARY_QUERY + CANARY_DOCUMENT,
        query_part(DEFAULT_INSTRUCTION, CANARY_QUERY),
        document_part(CANARY_DOCUMENT),
        query_part(DEFAULT_INSTRUCTION, SCORED_QUERY),
        *parts,
        *(part[:-1] for part in parts),
    )
    tokens: KnownTokens | None = yield AskTokens(texts)
    if tokens is None:
        return None
    bare, first, second, query, *documents = tokens.ids
    prompts = tuple(query + document for document in documents)
    exact = prompts[: len(parts)]
    return _CanaryTokens(
        proven=tokens.proven,
        local=tokens.local,
        counts=(len(bare), len(first) + len(second)),
        total=sum(map(len, exact)),
        agreement=(yield from _agreement(exact, prompts[len(parts) :])),
    )


def _agreement(
    prompts: tuple[tuple[int, ...], ...], shorter: tuple[tuple[int, ...], ...]
) -> Steps[CanaryQuestion, Any, Agreement | None]:
    """Scores by `/classify` of exact prompts, and of the same with one final newline fewer."""
    logits: ScoreReply | None = yield AskClassify(prompts + shorter, logits=True)
    probabilities: ScoreReply | None = yield AskClassify(prompts)
    if logits is None or probabilities is None:
        return None
    exact, mutant = logits.values[: len(prompts)], logits.values[len(prompts) :]
    if not tells_logits(exact, probabilities.values):
        return None
    return Agreement.of(exact, mutant, probabilities.values)


def _find_template_owner(
    requested: TemplateChoice, dialect: Dialect, expected: tuple[int, int] | None
) -> Steps[CanaryQuestion, Any, tuple[TemplateOwner, bool]]:
    """Who templates, from the token counts of the bare canary and of the templated one.

    Returns:
        the owner, and whether the server counts, so that it is no hearsay.
    """
    bare: ScoreReply = yield AskRerank(CANARY_QUERY, (CANARY_DOCUMENT,))
    whole: ScoreReply = yield AskRerank(
        query_part(DEFAULT_INSTRUCTION, CANARY_QUERY), (document_part(CANARY_DOCUMENT),)
    )
    if bare.tokens is not None and whole.tokens is not None and is_of_tokens(whole.tokens):
        owner = owner_by_counts(bare.tokens, whole.tokens, expected)
        return check_requested(requested, owner), True
    if dialect.template != "measured":
        return check_requested(requested, dialect.template), False
    if requested == "auto":
        raise TemplateMismatchError(UNCOUNTED)
    return requested, False


def _refuse_cosine() -> Steps[CanaryQuestion, Any, None]:
    """Raise if identical texts score 1.0 again and again: that is the cosine of embeddings."""
    for text in _IDENTICAL_TEXTS:
        reply: ScoreReply = yield AskRerank(text, (text,), logits=True)
        if abs(reply.values[0] - 1) > 1e-3:
            return
    raise TemplateMismatchError(embeddings_advice())


def _rerank_mode(
    owner: TemplateOwner, plain: PlainScore, *, asks_logits: bool
) -> Steps[CanaryQuestion, Any, tuple[Mode, ScoreReply]]:
    """The mode of the rerank route, and its scores to compare with those of `/classify`."""
    query: str = SCORED_QUERY
    documents: tuple[str, ...] = SCORED_DOCUMENTS
    if owner == "client":
        query = query_part(DEFAULT_INSTRUCTION, SCORED_QUERY)
        documents = tuple(document_part(document) for document in SCORED_DOCUMENTS)
    mode = Mode(route="rerank", template=owner, plain=plain)
    if not asks_logits:
        reply: ScoreReply = yield AskRerank(query, documents)
        _check_plain(reply, owner, plain)
        return mode, reply
    reply = yield AskRerank(query, documents, logits=True)
    probabilities: ScoreReply = yield AskRerank(query, documents)
    for value in probabilities.values:
        if not 0 <= value <= 1:
            raise TemplateMismatchError(no_probability_advice(value))
    _check_unlike(probabilities, owner)
    if tells_logits(reply.values, probabilities.values):
        return replace(mode, logits=True), reply
    return mode, probabilities


def _check_plain(reply: ScoreReply, owner: TemplateOwner, plain: PlainScore) -> None:
    """Raise if these cannot be scores of the canaries."""
    for value in reply.values:
        if plain == "probability" and not 0 <= value <= 1:
            raise ScoreError(
                f"The server's score {value} is no probability. If it returns logits, say "
                "scores='logit'; else it does not serve a Qwen3 reranker."
            )
    _check_unlike(reply, owner)


def _check_unlike(reply: ScoreReply, owner: TemplateOwner) -> None:
    """Raise if very different documents score alike."""
    if max(reply.values) - min(reply.values) < _LEAST_DIFFERENCE:
        raise TemplateMismatchError(alike_advice(owner))


def _uses_instruction(
    dialect: Dialect, is_counted: bool
) -> Steps[CanaryQuestion, Any, bool | None]:
    """Whether a longer instruction makes a longer prompt; servers ignore unknown keys silently.

    None where it can be sent, and nothing is counted.
    """
    if dialect.instruction_field is None:
        return False
    if not is_counted:
        return None
    counts = []
    for times in (1, 3):
        instruction = " ".join([DEFAULT_INSTRUCTION] * times)
        reply: ScoreReply = yield AskRerank(
            CANARY_QUERY, (CANARY_DOCUMENT,), instruction=instruction
        )
        counts.append(reply.tokens or 0)
    return counts[1] > counts[0] > 0
