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
from ....errors import TemplateMismatchError
from .rerank_api import ScoreReply
from .template_owner import (
    CANARY_DOCUMENT,
    CANARY_QUERY,
    NO_CLASSIFY,
    UNCHECKED,
    UNCOUNTED,
    Mode,
    RequestedMode,
    TemplateChoice,
    TemplateOwner,
    check_requested,
    embeddings_advice,
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
_IDENTICAL_TEXTS: Final = ("a", "b c", "Gravity is a force.")


@dataclass(frozen=True, slots=True)
class AskRerank:
    """What are the scores by `/v1/rerank`? Answered with a ScoreReply of finite numbers."""

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


def handshake_steps(requested: RequestedMode) -> ModeSteps:
    """Finds out how to ask a server for scores.

    Raises:
        TemplateMismatchError: the server changes the prompt, scores something else, or cannot do
            what was requested.
    """
    if requested.template == "none":
        return Mode(route="rerank", template="none", warning="template='none' checks nothing.")
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
        owner = yield from _find_template_owner(
            requested.template, tokens.counts if tokens else None
        )
    except TemplateMismatchError:
        if exact is None:
            yield from _refuse_cosine()
        raise
    if exact is None and owner == "client":
        yield from _refuse_cosine()
    mode, reply = yield from _rerank_mode(owner)
    if tokens is None or exact is None:
        return replace(mode, warning=UNCHECKED)
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
    requested: TemplateChoice, expected: tuple[int, int] | None
) -> Steps[CanaryQuestion, Any, TemplateOwner]:
    """Who templates, from the token counts of the bare canary and of the templated one."""
    bare: ScoreReply = yield AskRerank(CANARY_QUERY, (CANARY_DOCUMENT,))
    whole: ScoreReply = yield AskRerank(
        query_part(DEFAULT_INSTRUCTION, CANARY_QUERY), (document_part(CANARY_DOCUMENT),)
    )
    if bare.tokens is not None and whole.tokens is not None:
        return check_requested(requested, owner_by_counts(bare.tokens, whole.tokens, expected))
    if requested == "auto":
        raise TemplateMismatchError(UNCOUNTED)
    return requested


def _refuse_cosine() -> Steps[CanaryQuestion, Any, None]:
    """Raise if identical texts score 1.0 again and again: that is the cosine of embeddings."""
    for text in _IDENTICAL_TEXTS:
        reply: ScoreReply = yield AskRerank(text, (text,), logits=True)
        if abs(reply.values[0] - 1) > 1e-3:
            return
    raise TemplateMismatchError(embeddings_advice())


def _rerank_mode(owner: TemplateOwner) -> Steps[CanaryQuestion, Any, tuple[Mode, ScoreReply]]:
    """The mode of the rerank route, and its scores to compare with those of `/classify`."""
    query: str = SCORED_QUERY
    documents: tuple[str, ...] = SCORED_DOCUMENTS
    if owner == "client":
        query = query_part(DEFAULT_INSTRUCTION, SCORED_QUERY)
        documents = tuple(document_part(document) for document in SCORED_DOCUMENTS)
    reply: ScoreReply = yield AskRerank(query, documents, logits=True)
    probabilities: ScoreReply = yield AskRerank(query, documents)
    for value in probabilities.values:
        if not 0 <= value <= 1:
            raise TemplateMismatchError(no_probability_advice(value))
    logits = tells_logits(reply.values, probabilities.values)
    instructions = owner == "client" or (yield from _uses_instruction())
    mode = Mode(route="rerank", template=owner, logits=logits, instructions=instructions)
    return mode, reply if logits else probabilities


def _uses_instruction() -> Steps[CanaryQuestion, Any, bool]:
    """Whether a longer instruction makes a longer prompt; servers ignore unknown keys silently."""
    counts = []
    for times in (1, 3):
        instruction = " ".join([DEFAULT_INSTRUCTION] * times)
        reply: ScoreReply = yield AskRerank(
            CANARY_QUERY, (CANARY_DOCUMENT,), instruction=instruction
        )
        counts.append(reply.tokens or 0)
    return counts[1] > counts[0] > 0
