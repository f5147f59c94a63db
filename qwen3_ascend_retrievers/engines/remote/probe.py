"""The first contact with one server: its model, and the canaries' answers over HTTP.

What is asked and what the answers mean is decided in core/canary.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ...core.canary import (
    SHORTEST,
    AskClassify,
    AskRerank,
    AskTokens,
    KnownTokens,
    first_contact,
)
from ...core.canary import Question as Canary
from ...core.rerank_api import (
    Answer,
    ServedModel,
    classify_body,
    read_classify,
    read_models,
    read_rerank,
    rerank_body,
)
from ...core.steps import adrive
from ...core.tokens import Tokens
from ...errors import (
    AuthenticationError,
    InvalidInputError,
    ReplyError,
    StatusError,
    TemplateMismatchError,
)
from .counting import LocalTokens, server_tokens
from .endpoints import Contact
from .exchange import Exchange, Question
from .options import Options, shown
from .refusal import Refused

# Statuses of servers that lack a route, or do not take what it was sent.
_ABSENT: Final = frozenset({400, 404, 405, 422, 501})


async def make_contact(exchange: Exchange, options: Options, local: LocalTokens | None) -> Contact:
    """Find out how to talk to the server.

    Raises:
        Refused: a request failed.
        TemplateMismatchError: its scores could not be right.
        InvalidInputError: it serves several models and none was named.
    """
    served = await _served(exchange, options)
    probe = _Probe(exchange, served.name if served else options.model, local)
    mode = await adrive(first_contact(options.wishes), probe.answer)
    model = probe.model or probe.told
    return Contact(
        model=model,
        shown=model and shown(model, options.secrets()),
        max_length=served.max_length if served else None,
        mode=mode,
        tokens="local" if local else "server" if probe.has_tokenize else "none",
    )


async def _served(exchange: Exchange, options: Options) -> ServedModel | None:
    """The model to use, as `/v1/models` lists it; None if the server lists none or another."""
    try:
        models: list[ServedModel] = await exchange.ask(
            Question(path="/v1/models", body=None, read=read_models)
        )
    except Refused as refused:
        if not _absent(refused) and not isinstance(refused.error, ReplyError):
            raise
        return None
    if options.model is not None:
        return next((one for one in models if one.name == options.model), None)
    if len({one.root for one in models}) > 1:
        names = shown(", ".join(one.name for one in models), options.secrets())
        raise InvalidInputError(f"{exchange.root} serves several models: {names!r}. Set model=...")
    return models[0] if models else None


def _absent(refused: Refused) -> bool:
    return getattr(refused.error, "status", None) in _ABSENT and refused.kind != "too_long"


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
        body = classify_body(self.model, question.prompts, logits=question.logits)
        count = len(question.prompts)
        ask = Question(
            path="/classify",
            body=body,
            read=lambda reply: read_classify(reply, count, logits=True),
            documents=count,
        )
        try:
            return await self._asked(ask)
        except Refused as refused:
            if _unusable(refused):
                return None
            raise

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
        crashed or _absent(refused) or isinstance(refused.error, AuthenticationError | ReplyError)
    )
