"""The first contact with one server: its model, and the canaries' answers over HTTP.

What is asked and what the answers mean is decided in core/canary.py.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any, Final

from ...core.steps import adrive
from ...core.tokens import Tokens
from ...errors import AuthenticationError, ReplyError, StatusError, TemplateMismatchError
from .config import RemoteConfig
from .http.failures import RequestFailure
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
from .protocol.recheck import take_reference
from .protocol.rerank_api import Answer, classify_body, read_classify, read_rerank, rerank_body
from .redaction import shown
from .replicas import ServerProfile
from .served_models import chosen_model, is_absent, listed_models, with_names
from .tokenization import LocalTokenizer, server_tokens

# How often the canary is asked in the hope of a reply by each new name, behind a balancer.
_ATTEMPTS: Final = 8


async def shake_hands(
    client: RetryingClient, config: RemoteConfig, local: LocalTokenizer | None
) -> ServerProfile:
    """Find out how to talk to the server.

    Raises:
        RequestFailure: a request failed.
        TemplateMismatchError: its scores could not be right.
        InvalidInputError: it serves several models and none was named.
    """
    listed = await listed_models(client)
    served = chosen_model(client, config, listed)
    probe = _Probe(client, served.name if served else config.model, local)
    try:
        mode = await adrive(handshake_steps(config.requested), probe.answer)
        reference = await adrive(take_reference(mode), probe.insist)
    except RequestFailure as failure:
        raise with_names(config, listed, failure) from failure.__cause__
    name = probe.model or probe.told
    return ServerProfile(
        model=probe.model,
        shown=name and shown(name, config.secrets()),
        max_length=served.max_length if served else None,
        mode=mode,
        tokens="local" if local else "server" if probe.has_tokenize else "none",
        reference=reference,
    )


async def is_recognised(
    client: RetryingClient,
    profile: ServerProfile,
    config: RemoteConfig,
    local: LocalTokenizer | None,
    names: Set[str],
) -> bool:
    """Whether the server scores the canary as it did at first contact.

    Args:
        names: what replies called the model that was called otherwise before; a server behind
            each of them must say the same.

    Raises:
        RequestFailure: a request failed, or a new name comes with other scores.
    """
    probe = _Probe(client, profile.model, local)
    for _ in range(_ATTEMPTS if names else 1):
        steps = take_reference(profile.mode, profile.reference.prompts)
        found = await adrive(steps, probe.insist)
        if not profile.reference.is_alike(found):
            if names:
                raise _renamed(client, profile, names, config)
            return False
        if names <= client.replies.names:
            return True
    return False


def _renamed(
    client: RetryingClient, profile: ServerProfile, names: Set[str], config: RemoteConfig
) -> RequestFailure:
    told = shown(", ".join(sorted(names)), config.secrets())
    return RequestFailure(
        ReplyError(
            f"{client.root}: the reply is from the model {told!r}, not {profile.shown!r}, and it "
            "scores the canaries otherwise. Check what base_url leads to."
        )
    )


class _Probe:
    """Answers the canaries' questions."""

    def __init__(
        self, client: RetryingClient, model: str | None, local: LocalTokenizer | None
    ) -> None:
        self._client = client
        self._local = local
        self.model = model
        self.told: str | None = None
        self.has_tokenize = False

    async def answer(self, api_request: CanaryQuestion) -> Any:
        if isinstance(api_request, AskTokens):
            return await self._tokens(api_request.texts)
        if isinstance(api_request, AskClassify):
            return await self._classify(api_request)
        return await self._rerank(api_request)

    async def insist(self, api_request: CanaryQuestion) -> Any:
        """The same where the answer was had before: its failure is a failure."""
        if isinstance(api_request, AskTokens):
            tokens = await self._encoded(api_request.texts)
            ids = tuple(tuple(text.ids) for text in tokens)
            return KnownTokens(ids, proven=True, local=self._local is not None)
        if isinstance(api_request, AskClassify):
            return await self._asked(self._classify_question(api_request))
        return await self._rerank(api_request)

    async def _encoded(self, texts: Sequence[str]) -> list[Tokens]:
        if self._local is not None:
            return await self._local.encode(texts)
        return await server_tokens(self._client, self.model, texts)

    async def _tokens(self, texts: Sequence[str]) -> KnownTokens | None:
        theirs = await self._server_tokens(texts)
        ours = await self._local.encode(texts) if self._local else None
        known = ours or theirs
        if known is None:
            return None
        ids = tuple(tuple(one.ids) for one in known)
        if ours and theirs and ids != tuple(tuple(one.ids) for one in theirs):
            raise TemplateMismatchError(
                f"tokenizer=... makes other tokens than {self._client.root}. Pass the served "
                "model's own tokenizer, or none."
            )
        return KnownTokens(ids, proven=theirs is not None, local=ours is not None)

    async def _server_tokens(self, texts: Sequence[str]) -> list[Tokens] | None:
        try:
            made = await server_tokens(self._client, self.model, texts)
        except RequestFailure as failure:
            if _unusable(failure):
                return None
            raise
        self.has_tokenize = True
        return made

    async def _classify(self, api_request: AskClassify) -> Answer | None:
        try:
            return await self._asked(self._classify_question(api_request))
        except RequestFailure as failure:
            if _unusable(failure):
                return None
            raise

    def _classify_question(self, api_request: AskClassify) -> ApiRequest:
        count = len(api_request.prompts)
        return ApiRequest(
            path="/classify",
            body=classify_body(self.model, api_request.prompts, logits=api_request.logits),
            read=lambda reply: read_classify(reply, count, logits=True),
            documents=count,
        )

    async def _rerank(self, api_request: AskRerank) -> Answer:
        try:
            return await self._asked(self._rerank_question(api_request, plain=False))
        except RequestFailure as failure:
            # A strict server refuses keys that it does not know.
            extra = api_request.logits or api_request.instruction is not None
            if not extra or getattr(failure.error, "status", None) not in (400, 422):
                raise
            return await self._asked(self._rerank_question(api_request, plain=True))

    def _rerank_question(self, api_request: AskRerank, *, plain: bool) -> ApiRequest:
        count = len(api_request.documents)
        body = rerank_body(
            self.model,
            api_request.query,
            api_request.documents,
            instruction=None if plain else api_request.instruction,
            logits=api_request.logits and not plain,
        )
        return ApiRequest(
            path="/v1/rerank",
            body=body,
            # Whether the numbers can be probabilities is for the canary to judge.
            read=lambda reply: read_rerank(reply, count, logits=True),
            documents=count,
        )

    async def _asked(self, api_request: ApiRequest) -> Answer:
        try:
            answer: Answer = await self._client.ask(api_request)
        except RequestFailure as failure:
            if failure.kind == "too_long":
                raise _too_short(self._client.root, failure) from failure.error
            # What is decided here lasts, so it must not hang on one broken reply.
            if not isinstance(failure.error, ReplyError):
                raise
            answer = await self._client.ask(api_request)
        self.told = answer.model or self.told
        return answer


def _too_short(root: str, failure: RequestFailure) -> RequestFailure:
    """What it means that not even the canaries fit."""
    error = StatusError(
        f"{root} takes only prompts that are too short for Qwen3-Reranker: the template and a "
        "short query alone take about 100 tokens. Start the server with --max-model-len "
        f"{SHORTEST} or more; 8192 is usual.",
        status=getattr(failure.error, "status", None),
        request_id=getattr(failure.error, "request_id", None),
    )
    return RequestFailure(error, "too_long")


def _unusable(failure: RequestFailure) -> bool:
    """Whether a helpful route is not there, or not for us; the rerank route will do."""
    # Old servers fail with 500 at token ids where they expect text.
    crashed = getattr(failure.error, "status", None) == 500
    return (
        crashed or is_absent(failure) or isinstance(failure.error, AuthenticationError | ReplyError)
    )
