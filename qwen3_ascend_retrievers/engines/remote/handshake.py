"""The handshake with one server: its model, and the canaries' scores over HTTP.

What is asked and what the replies mean is decided in protocol/canary.py.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from typing import Any, Final

from ...core.steps import adrive
from ...core.tokens import Tokens
from ...errors import InvalidInputError, ReplyError, StatusError, TemplateMismatchError
from .config import RemoteConfig
from .discovery import find_server, is_unusable
from .http.failures import RequestFailure, with_advice
from .http.retrying import ApiRequest, RetryingClient
from .protocol.canary import (
    SHORTEST,
    AskClassify,
    AskRerank,
    AskTokens,
    CanaryQuestion,
    KnownTokens,
    handshake_steps,
)
from .protocol.dialects.base import Dialect, RerankRoute, least
from .protocol.dialects.table import DIALECTS
from .protocol.recheck import take_reference
from .protocol.rerank_api import ScoreReply
from .redaction import redacted_excerpt
from .replicas import ServerProfile
from .requests import classify_request, rerank_request
from .served_models import select_model, with_names
from .tokenization import LocalTokenizer, server_tokens

# How often the canaries are sent for a reply with each new model name, behind a load balancer.
_NAME_ATTEMPTS: Final = 8
_OTHER_FAMILY: Final = (
    f"For a server of another family set dialect=... to one of {', '.join(DIALECTS)}; base_url may "
    "be the whole URL of its route."
)


async def perform_handshake(
    client: RetryingClient, config: RemoteConfig, local: LocalTokenizer | None
) -> ServerProfile:
    """Find out how to ask the server for scores.

    Raises:
        RequestFailure: a request failed.
        TemplateMismatchError: its scores could not be right.
        InvalidInputError: it serves several models and the settings name none.
    """
    server = await find_server(client, config)
    dialect, models = server.dialect, server.models
    served = select_model(client, config, models)
    model = served.name if served else config.model
    if dialect.needs_model and model is None:
        raise InvalidInputError(f"{client.root} needs the model's name: set model=...")
    probe = _Probe(client, dialect, _candidate_routes(client, dialect), model, local)
    try:
        mode = await adrive(handshake_steps(config.requested, dialect), probe.answer)
        reference = await adrive(take_reference(mode), probe.answer_again)
    except RequestFailure as failure:
        raise with_names(config, models, failure) from failure.__cause__
    name = probe.model or probe.reply_model
    return ServerProfile(
        model=probe.model,
        display_name=name and redacted_excerpt(name, config.secrets()),
        max_length=least(dialect.max_length, served.max_length if served else None),
        mode=mode,
        dialect=dialect,
        reason=server.reason,
        route=probe.routes[0],
        tokens="local" if local else "server" if probe.has_tokenize else "none",
        reference=reference,
    )


async def is_same_server(
    client: RetryingClient,
    profile: ServerProfile,
    config: RemoteConfig,
    local: LocalTokenizer | None,
    names: Set[str],
) -> bool:
    """Whether the server scores the canaries as it did in the handshake.

    Args:
        names: new model names in replies; the server behind each of them must score the same.

    Raises:
        RequestFailure: a request failed, or a new name comes with other scores.
    """
    probe = _Probe(client, profile.dialect, (profile.route,), profile.model, local)
    for _ in range(_NAME_ATTEMPTS if names else 1):
        steps = take_reference(profile.mode, profile.reference.prompts)
        reference = await adrive(steps, probe.answer_again)
        if not profile.reference.is_alike(reference):
            if names:
                raise _other_model_failure(client, profile, names, config)
            return False
        if names <= client.replies.names:
            return True
    return False


def _other_model_failure(
    client: RetryingClient, profile: ServerProfile, names: Set[str], config: RemoteConfig
) -> RequestFailure:
    reply_names = redacted_excerpt(", ".join(sorted(names)), config.secrets())
    return RequestFailure(
        ReplyError(
            f"{client.root}: the reply is from the model {reply_names!r}, not "
            f"{profile.display_name!r}, and it scores the canaries otherwise. Check what base_url "
            "leads to."
        )
    )


class _Probe:
    """Answers the questions of the protocol's steps by requests to the server."""

    def __init__(
        self,
        client: RetryingClient,
        dialect: Dialect,
        routes: tuple[str, ...],
        model: str | None,
        local: LocalTokenizer | None,
    ) -> None:
        self._client = client
        self._dialect = dialect
        self._local = local
        # The first is used; those that are not there are dropped.
        self.routes = routes
        self.model = model
        self.reply_model: str | None = None
        self.has_tokenize = False

    async def answer(self, question: CanaryQuestion) -> Any:
        if isinstance(question, AskTokens):
            return await self._tokens(question.texts)
        if isinstance(question, AskClassify):
            return await self._classify_if_possible(question)
        return await self._rerank(question)

    async def answer_again(self, question: CanaryQuestion) -> Any:
        """The same where the server has answered before, so that a missing route is a failure."""
        if isinstance(question, AskTokens):
            tokens = await self._encode(question.texts)
            return KnownTokens(_ids_of(tokens), proven=True, local=self._local is not None)
        if isinstance(question, AskClassify):
            return await self._classify(question)
        return await self._rerank(question)

    async def _encode(self, texts: Sequence[str]) -> list[Tokens]:
        if self._local is not None:
            return await self._local.encode(texts)
        return await server_tokens(self._client, self._dialect, self.model, texts)

    async def _tokens(self, texts: Sequence[str]) -> KnownTokens | None:
        theirs = await self._server_tokens(texts)
        ours = await self._local.encode(texts) if self._local else None
        tokens = ours or theirs
        if tokens is None:
            return None
        ids = _ids_of(tokens)
        if ours and theirs and ids != _ids_of(theirs):
            raise TemplateMismatchError(
                f"tokenizer=... makes other tokens than {self._client.root}. Pass the served "
                "model's own tokenizer, or none."
            )
        return KnownTokens(ids, proven=theirs is not None, local=ours is not None)

    async def _server_tokens(self, texts: Sequence[str]) -> list[Tokens] | None:
        if self._dialect.tokenize is None:
            return None
        try:
            tokens = await server_tokens(self._client, self._dialect, self.model, texts)
        except RequestFailure as failure:
            if is_unusable(failure):
                return None
            raise
        self.has_tokenize = True
        return tokens

    async def _classify_if_possible(self, question: AskClassify) -> ScoreReply | None:
        if not self._dialect.classifies_ids:
            return None
        try:
            return await self._classify(question)
        except RequestFailure as failure:
            if is_unusable(failure):
                return None
            raise

    async def _classify(self, question: AskClassify) -> ScoreReply:
        return await self._send(
            classify_request(self.model, question.prompts, logits=question.logits, template=None)
        )

    async def _rerank(self, question: AskRerank) -> ScoreReply:
        while True:
            try:
                return await self._rerank_on(self.routes[0], question)
            except RequestFailure as failure:
                if not _is_missing_route(failure):
                    raise
                if len(self.routes) == 1:
                    raise with_advice(failure, _OTHER_FAMILY) from failure.__cause__
                self.routes = self.routes[1:]

    async def _rerank_on(self, path: str, question: AskRerank) -> ScoreReply:
        try:
            return await self._send(self._rerank_request(path, question))
        except RequestFailure as failure:
            # A strict server refuses keys that it does not know.
            has_extra_keys = question.logits or question.instruction is not None
            if not has_extra_keys or getattr(failure.error, "status", None) not in (400, 422):
                raise
            plain = replace(question, logits=False, instruction=None)
            return await self._send(self._rerank_request(path, plain))

    def _rerank_request(self, path: str, question: AskRerank) -> ApiRequest:
        return rerank_request(
            RerankRoute(path, self._dialect, self.model),
            question.query,
            question.documents,
            instruction=question.instruction,
            logits=question.logits,
            template=None,
        )

    async def _send(self, api_request: ApiRequest) -> ScoreReply:
        try:
            reply: ScoreReply = await self._client.ask(api_request)
        except RequestFailure as failure:
            if failure.kind == "too_long":
                raise _too_short(self._client.root, failure) from failure.error
            # The handshake's result lasts, so it must not depend on one broken reply.
            if not isinstance(failure.error, ReplyError):
                raise
            reply = await self._client.ask(api_request)
        self.reply_model = reply.model or self.reply_model
        return reply


def _ids_of(encoded: Sequence[Tokens]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(tokens.ids) for tokens in encoded)


def _too_short(root: str, failure: RequestFailure) -> RequestFailure:
    """The failure of a server for which even the canaries are too long."""
    error = StatusError(
        f"{root} takes only prompts that are too short for Qwen3-Reranker: the template and a "
        "short query alone take about 100 tokens. Start the server with --max-model-len "
        f"{SHORTEST} or more; 8192 is usual.",
        status=getattr(failure.error, "status", None),
        request_id=getattr(failure.error, "request_id", None),
    )
    return RequestFailure(error, "too_long")


def _candidate_routes(client: RetryingClient, dialect: Dialect) -> tuple[str, ...]:
    """The route in base_url, as it was typed; else the dialect's."""
    return dialect.routes if client.typed_route is None else (client.typed_route,)


def _is_missing_route(failure: RequestFailure) -> bool:
    status = getattr(failure.error, "status", None)
    return status in (404, 405) and failure.kind != "unknown_model"
