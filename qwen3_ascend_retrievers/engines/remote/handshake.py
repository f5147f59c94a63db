"""The first contact with one server: its model, and the canaries' answers over HTTP.

What is asked and what the answers mean is decided in core/canary.py.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any, Final

from ...core.steps import adrive
from ...core.tokens import Tokens
from ...errors import AuthenticationError, ReplyError, StatusError, TemplateMismatchError
from .config import Options
from .http.failures import Refused
from .http.retrying import Exchange, Question
from .protocol.canary import SHORTEST, AskClassify, AskRerank, AskTokens, KnownTokens, first_contact
from .protocol.canary import Question as Canary
from .protocol.recheck import take_reference
from .protocol.rerank_api import Answer, classify_body, read_classify, read_rerank, rerank_body
from .redaction import shown
from .replicas import Contact
from .served_models import chosen_model, is_absent, listed_models, with_names
from .tokenization import LocalTokens, server_tokens

# How often the canary is asked in the hope of a reply by each new name, behind a balancer.
_ATTEMPTS: Final = 8


async def make_contact(exchange: Exchange, options: Options, local: LocalTokens | None) -> Contact:
    """Find out how to talk to the server.

    Raises:
        Refused: a request failed.
        TemplateMismatchError: its scores could not be right.
        InvalidInputError: it serves several models and none was named.
    """
    listed = await listed_models(exchange)
    served = chosen_model(exchange, options, listed)
    probe = _Probe(exchange, served.name if served else options.model, local)
    try:
        mode = await adrive(first_contact(options.wishes), probe.answer)
        reference = await adrive(take_reference(mode), probe.insist)
    except Refused as refused:
        raise with_names(options, listed, refused) from refused.__cause__
    name = probe.model or probe.told
    return Contact(
        model=probe.model,
        shown=name and shown(name, options.secrets()),
        max_length=served.max_length if served else None,
        mode=mode,
        tokens="local" if local else "server" if probe.has_tokenize else "none",
        reference=reference,
    )


async def is_recognised(
    exchange: Exchange,
    contact: Contact,
    options: Options,
    local: LocalTokens | None,
    names: Set[str],
) -> bool:
    """Whether the server scores the canary as it did at first contact.

    Args:
        names: what replies called the model that was called otherwise before; a server behind
            each of them must say the same.

    Raises:
        Refused: a request failed, or a new name comes with other scores.
    """
    probe = _Probe(exchange, contact.model, local)
    for _ in range(_ATTEMPTS if names else 1):
        steps = take_reference(contact.mode, contact.reference.prompts)
        found = await adrive(steps, probe.insist)
        if not contact.reference.is_alike(found):
            if names:
                raise _renamed(exchange, contact, names, options)
            return False
        if names <= exchange.replies.names:
            return True
    return False


def _renamed(exchange: Exchange, contact: Contact, names: Set[str], options: Options) -> Refused:
    told = shown(", ".join(sorted(names)), options.secrets())
    return Refused(
        ReplyError(
            f"{exchange.root}: the reply is from the model {told!r}, not {contact.shown!r}, and it "
            "scores the canaries otherwise. Check what base_url leads to."
        )
    )


class _Probe:
    """Answers the canaries' questions."""

    def __init__(self, exchange: Exchange, model: str | None, local: LocalTokens | None) -> None:
        self._exchange = exchange
        self._local = local
        self.model = model
        self.told: str | None = None
        self.has_tokenize = False

    async def answer(self, question: Canary) -> Any:
        if isinstance(question, AskTokens):
            return await self._tokens(question.texts)
        if isinstance(question, AskClassify):
            return await self._classify(question)
        return await self._rerank(question)

    async def insist(self, question: Canary) -> Any:
        """The same where the answer was had before: its failure is a failure."""
        if isinstance(question, AskTokens):
            tokens = await self._encoded(question.texts)
            ids = tuple(tuple(text.ids) for text in tokens)
            return KnownTokens(ids, proven=True, local=self._local is not None)
        if isinstance(question, AskClassify):
            return await self._asked(self._classify_question(question))
        return await self._rerank(question)

    async def _encoded(self, texts: Sequence[str]) -> list[Tokens]:
        if self._local is not None:
            return await self._local.encode(texts)
        return await server_tokens(self._exchange, self.model, texts)

    async def _tokens(self, texts: Sequence[str]) -> KnownTokens | None:
        theirs = await self._server_tokens(texts)
        ours = await self._local.encode(texts) if self._local else None
        known = ours or theirs
        if known is None:
            return None
        ids = tuple(tuple(one.ids) for one in known)
        if ours and theirs and ids != tuple(tuple(one.ids) for one in theirs):
            raise TemplateMismatchError(
                f"tokenizer=... makes other tokens than {self._exchange.root}. Pass the served "
                "model's own tokenizer, or none."
            )
        return KnownTokens(ids, proven=theirs is not None, local=ours is not None)

    async def _server_tokens(self, texts: Sequence[str]) -> list[Tokens] | None:
        try:
            made = await server_tokens(self._exchange, self.model, texts)
        except Refused as refused:
            if _unusable(refused):
                return None
            raise
        self.has_tokenize = True
        return made

    async def _classify(self, question: AskClassify) -> Answer | None:
        try:
            return await self._asked(self._classify_question(question))
        except Refused as refused:
            if _unusable(refused):
                return None
            raise

    def _classify_question(self, question: AskClassify) -> Question:
        count = len(question.prompts)
        return Question(
            path="/classify",
            body=classify_body(self.model, question.prompts, logits=question.logits),
            read=lambda reply: read_classify(reply, count, logits=True),
            documents=count,
        )

    async def _rerank(self, question: AskRerank) -> Answer:
        try:
            return await self._asked(self._rerank_question(question, plain=False))
        except Refused as refused:
            # A strict server refuses keys that it does not know.
            extra = question.logits or question.instruction is not None
            if not extra or getattr(refused.error, "status", None) not in (400, 422):
                raise
            return await self._asked(self._rerank_question(question, plain=True))

    def _rerank_question(self, question: AskRerank, *, plain: bool) -> Question:
        count = len(question.documents)
        body = rerank_body(
            self.model,
            question.query,
            question.documents,
            instruction=None if plain else question.instruction,
            logits=question.logits and not plain,
        )
        return Question(
            path="/v1/rerank",
            body=body,
            # Whether the numbers can be probabilities is for the canary to judge.
            read=lambda reply: read_rerank(reply, count, logits=True),
            documents=count,
        )

    async def _asked(self, question: Question) -> Answer:
        try:
            answer: Answer = await self._exchange.ask(question)
        except Refused as refused:
            if refused.kind == "too_long":
                raise _too_short(self._exchange.root, refused) from refused.error
            # What is decided here lasts, so it must not hang on one broken reply.
            if not isinstance(refused.error, ReplyError):
                raise
            answer = await self._exchange.ask(question)
        self.told = answer.model or self.told
        return answer


def _too_short(root: str, refused: Refused) -> Refused:
    """What it means that not even the canaries fit."""
    error = StatusError(
        f"{root} takes only prompts that are too short for Qwen3-Reranker: the template and a "
        "short query alone take about 100 tokens. Start the server with --max-model-len "
        f"{SHORTEST} or more; 8192 is usual.",
        status=getattr(refused.error, "status", None),
        request_id=getattr(refused.error, "request_id", None),
    )
    return Refused(error, "too_long")


def _unusable(refused: Refused) -> bool:
    """Whether a helpful route is not there, or not for us; the rerank route will do."""
    # Old servers fail with 500 at token ids where they expect text.
    crashed = getattr(refused.error, "status", None) == 500
    return (
        crashed or is_absent(refused) or isinstance(refused.error, AuthenticationError | ReplyError)
    )
