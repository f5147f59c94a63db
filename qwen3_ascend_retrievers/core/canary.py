"""The first contact with a server: which questions it is asked, as `Steps`.

Token counts show who templates, scores by two routes show whether it is done exactly. Nothing is
sent from here; the judgements are in template.py and agreement.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from ..errors import TemplateMismatchError
from .agreement import Agreement, tells_logits
from .prompt import DEFAULT_INSTRUCTION, document_part, query_part
from .rerank_api import Answer
from .steps import Steps
from .template import DOCUMENT, QUERY, SERVE_FLAGS, Mode, Template, Who, Wishes, mismatch, who_templates

# Texts of several scripts, so that two different tokenizers hardly agree on all counts.
_ASKED: Final = "What is the capital of China?"
_DOCUMENTS: Final = (
    "The capital of China is Beijing.",
    "Gravity is a force that attracts two bodies towards each other. 重力 притягивает.",
    "  def f(x):\n\treturn x ** 2  # 🐼\n\n",
)
_IDENTICAL: Final = ("a", "b c", "Gravity is a force.")


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

    prompts: tuple[tuple[int, ...], ...]
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

    ids: tuple[tuple[int, ...], ...]
    proven: bool
    local: bool


Question = AskRerank | AskClassify | AskTokens
Contact = Steps[Question, Any, Mode]


@dataclass(frozen=True, slots=True)
class _Known:
    """The canaries' tokens, and what `/classify` makes of them."""

    bare: int
    whole: int
    prompts: tuple[tuple[int, ...], ...]
    proven: bool
    local: bool
    agreement: Agreement | None


def first_contact(wishes: Wishes) -> Contact:
    """Finds out how to talk to a server.

    Raises:
        TemplateMismatchError: the server changes the prompt, scores something else, or cannot do
            what was wished for.
    """
    if wishes.template == "none":
        return Mode(route="rerank", template="none", warning="template='none' checks nothing.")
    known = yield from _tokens()
    exact = known is not None and known.agreement is not None
    if wishes.protocol == "classify" and not exact:
        raise TemplateMismatchError(
            "protocol='classify' needs a server whose /classify takes token ids (vLLM 0.18 or "
            "later), and token ids: pass tokenizer=..., or let /tokenize be reached. Else use "
            "protocol='rerank'."
        )
    cheap = known is not None and known.local and wishes.template == "auto"
    if exact and known is not None and known.proven and wishes.protocol != "rerank":
        if cheap or wishes.protocol == "classify":
            return _classify(known)
    who = yield from _who(wishes.template, known)
    if not exact and who == "client":
        yield from _refuse_cosine()
    mode, agrees = yield from _rerank_mode(who, known)
    if exact and known is not None:
        return _with_proof(wishes, known, mode, agrees)
    return mode


def _tokens() -> Steps[Question, Any, _Known | None]:
    """The canaries' tokens, and their scores by `/classify`, as far as both can be had."""
    parts = [document_part(one) for one in _DOCUMENTS]
    query = query_part(DEFAULT_INSTRUCTION, QUERY)
    texts = (
        QUERY + DOCUMENT,
        query,
        document_part(DOCUMENT),
        query_part(DEFAULT_INSTRUCTION, _ASKED),
        *parts,
        *(part[:-1] for part in parts),
    )
    answer: KnownTokens | None = yield AskTokens(texts)
    if answer is None:
        return None
    bare, first, second, asked, *rest = answer.ids
    prompts = tuple(asked + ids for ids in rest)
    agreement = yield from _agreement(prompts[: len(parts)], prompts[len(parts) :])
    return _Known(
        len(bare), len(first) + len(second), prompts[: len(parts)], answer.proven, answer.local,
        agreement,
    )  # fmt: skip


def _agreement(
    prompts: tuple[tuple[int, ...], ...], shorter: tuple[tuple[int, ...], ...]
) -> Steps[Question, Any, Agreement | None]:
    """Scores by `/classify` of exact prompts, and of the same with one final newline fewer."""
    logits: Answer | None = yield AskClassify(prompts + shorter, logits=True)
    probabilities: Answer | None = yield AskClassify(prompts)
    if logits is None or probabilities is None:
        return None
    exact, other = logits.values[: len(prompts)], logits.values[len(prompts) :]
    if not tells_logits(exact, probabilities.values):
        return None
    return Agreement.of(exact, other, probabilities.values)


def _classify(known: _Known) -> Mode:
    return Mode(
        route="classify", template="client", logits=True, instructions=True, verified=None,
        fallback=known.agreement is not None,
    )  # fmt: skip


def _who(wish: Template, known: _Known | None) -> Steps[Question, Any, Who]:
    """Who templates, from the token counts of the bare canary and of the templated one."""
    bare: Answer = yield AskRerank(QUERY, (DOCUMENT,))
    whole: Answer = yield AskRerank(
        query_part(DEFAULT_INSTRUCTION, QUERY), (document_part(DOCUMENT),)
    )
    if bare.tokens is None or whole.tokens is None:
        if wish in ("client", "server"):
            return wish  # type: ignore[return-value]  # narrowed by the line above
        raise TemplateMismatchError(
            "The server counts no tokens (no usage in its replies), so who applies the template "
            "cannot be found out. Say it: template='client' if the server was started without a "
            "rerank template, template='server' if it has Qwen3's."
        )
    found = who_templates(bare.tokens, whole.tokens, known and (known.bare, known.whole))
    if wish != "auto" and wish != found:
        raise TemplateMismatchError(
            f"template={wish!r} was asked for, but the server "
            + (
                "applies a template itself, so the prompt would hold it twice. Start it without "
                "--chat-template, or use template='auto'."
                if found == "server"
                else "applies none. Start it with --chat-template, or use template='auto'."
            )
        )
    return found


def _refuse_cosine() -> Steps[Question, Any, None]:
    """Raise if identical texts score 1.0 again and again: that is the cosine of embeddings."""
    for text in _IDENTICAL:
        answer: Answer = yield AskRerank(text, (text,), logits=True)
        if abs(answer.values[0] - 1) > 1e-3:
            return
    raise TemplateMismatchError(
        "The server compares embeddings (identical texts score 1.0) and does not rerank. Start "
        f"it with {SERVE_FLAGS} for an original checkpoint; a converted one needs only --runner "
        "pooling."
    )


def _rerank_mode(who: Who, known: _Known | None) -> Steps[Question, Any, tuple[Mode, bool]]:
    """How the rerank route answers, and whether it agrees with `/classify`."""
    query, documents = _ASKED, _DOCUMENTS
    if who == "client":
        query = query_part(DEFAULT_INSTRUCTION, _ASKED)
        documents = tuple(document_part(one) for one in _DOCUMENTS)
    told: Answer = yield AskRerank(query, documents, logits=True)
    probabilities: Answer = yield AskRerank(query, documents)
    for value in probabilities.values:
        if not 0 <= value <= 1:
            raise TemplateMismatchError(
                f"The server's score {value} is no probability, so it is no Qwen3 reranker's. "
                f"Start the server with {SERVE_FLAGS}."
            )
    logits = tells_logits(told.values, probabilities.values)
    heeds = who == "server" and (yield from _heeds_instruction())
    values = told.values if logits else probabilities.values
    agrees = False
    if known is not None and known.agreement is not None:
        counted = probabilities.tokens in (None, sum(map(len, known.prompts)))
        agrees = counted and known.agreement.holds(values, logits=logits)
    return Mode(
        route="rerank", template=who, logits=logits, instructions=heeds or who == "client",
        warning="Whether the server's prompt is exact could not be checked: its /classify takes "
        "no token ids, or no tokenizer is at hand (tokenizer=...).",
    ), agrees  # fmt: skip


def _heeds_instruction() -> Steps[Question, Any, bool]:
    """Whether a longer instruction makes a longer prompt; unknown keys are ignored in silence."""
    counts = []
    for times in (1, 3):
        told = " ".join([DEFAULT_INSTRUCTION] * times)
        answer: Answer = yield AskRerank(QUERY, (DOCUMENT,), instruction=told)
        counts.append(answer.tokens)
    return counts[0] is not None and counts[1] is not None and counts[1] > counts[0]


def _with_proof(wishes: Wishes, known: _Known, mode: Mode, agrees: bool) -> Mode:
    """The mode, now that two routes can be compared."""
    if wishes.protocol == "classify" or (wishes.protocol == "auto" and known.local and agrees):
        return _classify(known)
    if agrees:
        return Mode(
            route="rerank", template=mode.template, logits=mode.logits,
            instructions=mode.instructions, verified=True, fallback=True,
        )  # fmt: skip
    if wishes.protocol == "auto" and wishes.template == "auto" and known.proven:
        return _classify(known)
    raise TemplateMismatchError(mismatch(mode.template))


