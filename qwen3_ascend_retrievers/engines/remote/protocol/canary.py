"""The first contact with a server: which questions it is asked, as `Steps`.

Token counts show who templates, scores by two routes show whether it is done exactly. Nothing is
sent from here; the judgements are in template.py and agreement.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from ....core.agreement import Agreement, tells_logits
from ....core.prompt import DEFAULT_INSTRUCTION, document_part, query_part
from ....core.steps import Steps
from ....errors import TemplateMismatchError
from .rerank_api import Answer
from .template_owner import (
    DOCUMENT,
    NO_CLASSIFY,
    QUERY,
    UNCHECKED,
    UNCOUNTED,
    Mode,
    RequestedMode,
    Template,
    Who,
    check_requested,
    embeddings,
    mismatch,
    no_probability,
    who_templates,
)

# Texts of several scripts, so that two different tokenizers hardly agree on all counts.
ASKED: Final = "What is the capital of China?"
DOCUMENTS: Final = (
    "The capital of China is Beijing.",
    "Gravity is a force that attracts two bodies towards each other. 重力 притягивает.",
    "  def f(x):\n\treturn x ** 2  # 🐼\n\n",
)
# The longest prompt that a server must take for all of this is below it with any tokenizer: 153
# tokens with the bundled model's small one.
SHORTEST: Final = 256
_IDENTICAL: Final = ("a", "b c", "Gravity is a force.")
Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AskRerank:
    """What does `/v1/rerank` say? Answered with an Answer of finite numbers."""

    query: str
    documents: tuple[str, ...]
    instruction: str | None = None
    logits: bool = False


@dataclass(frozen=True, slots=True)
class AskClassify:
    """What does `/classify` say of these token ids? Answered with an Answer, None if it cannot."""

    prompts: tuple[Ids, ...]
    logits: bool = False


@dataclass(frozen=True, slots=True)
class AskTokens:
    """What are the tokens of these texts? Answered with KnownTokens, None without a tokenizer."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KnownTokens:
    """Token ids of texts.

    Attributes:
        ids: those of each text.
        proven: whether the server's own tokenizer is known to make the same.
        local: whether a tokenizer on this side makes them, so that they cost no request.
    """

    ids: tuple[Ids, ...]
    proven: bool
    local: bool


CanaryQuestion = AskRerank | AskClassify | AskTokens
ModeSteps = Steps[CanaryQuestion, Any, Mode]


@dataclass(frozen=True, slots=True)
class _CanaryTokens:
    """The canaries' tokens, and what `/classify` makes of them if it takes ids.

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
    """Finds out how to talk to a server.

    Raises:
        TemplateMismatchError: the server changes the prompt, scores something else, or cannot do
            what was wished for.
    """
    if requested.template == "none":
        return Mode(route="rerank", template="none", warning="template='none' checks nothing.")
    known = yield from _known()
    exact = known.agreement if known is not None else None
    if requested.protocol == "classify" and exact is None:
        raise TemplateMismatchError(NO_CLASSIFY)
    wanted = requested.protocol == "classify" or (known is not None and known.local)
    if known is not None and exact and known.proven and wanted and requested.protocol != "rerank":
        return Mode.classify()
    try:
        who = yield from _who(requested.template, known.counts if known else None)
    except TemplateMismatchError:
        if exact is None:
            yield from _refuse_cosine()
        raise
    if exact is None and who == "client":
        yield from _refuse_cosine()
    mode, told = yield from _rerank_mode(who)
    if known is None or exact is None:
        return replace(mode, warning=UNCHECKED)
    counted = told.tokens in (None, known.total)
    agrees = counted and exact.holds(told.values, logits=mode.logits)
    return _choose(requested, known, mode, agrees)


def _choose(requested: RequestedMode, known: _CanaryTokens, mode: Mode, agrees: bool) -> Mode:
    """The route, now that the scores of both are compared."""
    # Equal scores prove a local tokenizer as well.
    usable = known.proven or agrees
    if usable and requested.protocol == "classify":
        return Mode.classify()
    if usable and requested.protocol == "auto" and (known.local or not agrees):
        return Mode.classify()
    if not agrees:
        raise TemplateMismatchError(mismatch(mode.template))
    return replace(mode, verified=True, fallback=True)


def _known() -> Steps[CanaryQuestion, Any, _CanaryTokens | None]:
    """The canaries' tokens and their scores by `/classify`, as far as they can be had."""
    parts = [document_part(one) for one in DOCUMENTS]
    texts = (
        QUERY + DOCUMENT,
        query_part(DEFAULT_INSTRUCTION, QUERY),
        document_part(DOCUMENT),
        query_part(DEFAULT_INSTRUCTION, ASKED),
        *parts,
        *(part[:-1] for part in parts),
    )
    answer: KnownTokens | None = yield AskTokens(texts)
    if answer is None:
        return None
    bare, first, second, asked, *cool_down = answer.ids
    prompts = tuple(asked + ids for ids in cool_down)
    exact = prompts[: len(parts)]
    return _CanaryTokens(
        proven=answer.proven,
        local=answer.local,
        counts=(len(bare), len(first) + len(second)),
        total=sum(map(len, exact)),
        agreement=(yield from _agreement(exact, prompts[len(parts) :])),
    )


def _agreement(
    prompts: tuple[Ids, ...], shorter: tuple[Ids, ...]
) -> Steps[CanaryQuestion, Any, Agreement | None]:
    """Scores by `/classify` of exact prompts, and of the same with one final newline fewer."""
    logits: Answer | None = yield AskClassify(prompts + shorter, logits=True)
    probabilities: Answer | None = yield AskClassify(prompts)
    if logits is None or probabilities is None:
        return None
    exact, mutant = logits.values[: len(prompts)], logits.values[len(prompts) :]
    if not tells_logits(exact, probabilities.values):
        return None
    return Agreement.of(exact, mutant, probabilities.values)


def _who(wish: Template, expected: tuple[int, int] | None) -> Steps[CanaryQuestion, Any, Who]:
    """Who templates, from the token counts of the bare canary and of the templated one."""
    bare: Answer = yield AskRerank(QUERY, (DOCUMENT,))
    whole: Answer = yield AskRerank(
        query_part(DEFAULT_INSTRUCTION, QUERY), (document_part(DOCUMENT),)
    )
    if bare.tokens is not None and whole.tokens is not None:
        return check_requested(wish, who_templates(bare.tokens, whole.tokens, expected))
    if wish == "auto":
        raise TemplateMismatchError(UNCOUNTED)
    return wish


def _refuse_cosine() -> Steps[CanaryQuestion, Any, None]:
    """Raise if identical texts score 1.0 again and again: that is the cosine of embeddings."""
    for text in _IDENTICAL:
        answer: Answer = yield AskRerank(text, (text,), logits=True)
        if abs(answer.values[0] - 1) > 1e-3:
            return
    raise TemplateMismatchError(embeddings())


def _rerank_mode(who: Who) -> Steps[CanaryQuestion, Any, tuple[Mode, Answer]]:
    """How the rerank route answers, and its scores to compare with those of `/classify`."""
    query: str = ASKED
    documents: tuple[str, ...] = DOCUMENTS
    if who == "client":
        query = query_part(DEFAULT_INSTRUCTION, ASKED)
        documents = tuple(document_part(one) for one in DOCUMENTS)
    told: Answer = yield AskRerank(query, documents, logits=True)
    probabilities: Answer = yield AskRerank(query, documents)
    for value in probabilities.values:
        if not 0 <= value <= 1:
            raise TemplateMismatchError(no_probability(value))
    logits = tells_logits(told.values, probabilities.values)
    heeds = who == "client" or (yield from _heeds_instruction())
    mode = Mode(route="rerank", template=who, logits=logits, instructions=heeds)
    return mode, told if logits else probabilities


def _heeds_instruction() -> Steps[CanaryQuestion, Any, bool]:
    """Whether a longer instruction makes a longer prompt; unknown keys are ignored in silence."""
    counts = []
    for times in (1, 3):
        told = " ".join([DEFAULT_INSTRUCTION] * times)
        answer: Answer = yield AskRerank(QUERY, (DOCUMENT,), instruction=told)
        counts.append(answer.tokens or 0)
    return counts[1] > counts[0] > 0
